"""The live programs: a sender and a receiver, asyncio around the core."""
