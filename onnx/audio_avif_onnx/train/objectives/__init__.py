"""What training descends: losses, discriminators and the tasks that combine them."""
