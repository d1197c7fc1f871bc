/** Pixels to AVIF stills, by libavif and libaom in WebAssembly (jSquash). */

declare const AVIF_VERSION: string; // by build.mjs

/** The part of the encoder's module that is used here; the package's own types need a global that it does not export. */
interface AvifModule {
  encode(rgba: Uint8ClampedArray, width: number, height: number, options: object): Uint8Array | null;
}
type OpenModule = (options: { noInitialRun: boolean; locateFile: () => string }) => Promise<AvifModule>;

/** Speed 6 takes 6 % fewer bits than speed 8 at equal error, and a tenth more time; speed 5 saves 1 to 2 % more in four times the time. */
export const STILL_OPTIONS = {
  qualityAlpha: -1,
  denoiseLevel: 0,
  tileColsLog2: 0,
  tileRowsLog2: 0,
  speed: 6,
  subsample: 0, // one plane
  chromaDeltaQ: false,
  sharpness: 0,
  tune: 0, // any value gives the same stills: this build always tunes for SSIM
  enableSharpYUV: false,
  bitDepth: 8,
};

export class PictureWriter {
  private constructor(private readonly module: AvifModule) {}

  /** Loads the encoder. Passes its errors on. */
  static async load(): Promise<PictureWriter> {
    const url: string = `./avif-${AVIF_VERSION}.js`;
    const { default: start } = (await import(url)) as { default: OpenModule };
    const module = await start({
      noInitialRun: true,
      locateFile: () => new URL(`./avif-${AVIF_VERSION}.wasm`, import.meta.url).href,
    });
    return new PictureWriter(module);
  }

  /** Compress gray values `[height, width]` row by row; quality 0 to 100. */
  write(pixels: Uint8Array, width: number, height: number, quality: number): Uint8Array {
    const rgba = new Uint8ClampedArray(4 * pixels.length).fill(255);
    pixels.forEach((pixel, i) => rgba.fill(pixel, 4 * i, 4 * i + 3));
    const still = this.module.encode(rgba, width, height, { ...STILL_OPTIONS, quality });
    if (!still) throw new Error("the AVIF encoder failed");
    return still.slice();
  }
}
