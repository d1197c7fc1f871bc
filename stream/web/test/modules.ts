// What the tests look into; build.mjs makes built.js of it, so that they need nothing but node.
export * from "../src/concealment.js";
export * from "../src/config.js";
export * from "../src/container.js";
export * from "../src/decoder.js";
export * from "../src/errors.js";
export * from "../src/features.js";
export * from "../src/history.js";
export * from "../src/jitter.js";
export * from "../src/noise.js";
export * from "../src/outlet.js";
export * from "../src/picture_writer.js";
export * from "../src/player.js";
export * from "../src/resample.js";
export * from "../src/ring.js";
export * from "../src/sink.js";
export * from "../src/wire.js";
export * from "../src/tiles.js";
