/** The template of an encoder's stills with their AV1 frame headers. As `audio_avif/still/frame_headers.py`, for one quality. */

import { StillTemplate } from "./container.js";

export const FRAME_HEADER_BYTES = 5;

/** `write` encodes gray pixels. A white pixel makes the encoder split its blocks, which changes a bit of the frame header. */
export function makeTemplate(write: (pixels: Uint8Array) => Uint8Array, width: number, height: number): StillTemplate {
  const blank = write(new Uint8Array(width * height));
  const speck = write(new Uint8Array(width * height).fill(255, (height >> 1) * width, (height >> 1) * width + 1));
  const template = StillTemplate.of(blank);
  const headers = [blank, speck].flatMap((still) => template.strip(still)?.slice(0, FRAME_HEADER_BYTES) ?? []);
  return new StillTemplate(template.prefix, template.ilocLengthAt, template.mdatSizeAt, headers);
}
