/** The peer broke the protocol; the stream cannot go on. */
export class WireError extends Error {}

/** One picture is damaged; it is concealed. */
export class TileError extends Error {}
