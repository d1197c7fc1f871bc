/** The place in the stream of every sample that the vocoder makes. As `audio_avif/codec/position.py`. */

/** Samples to be played next; `firstSample` is the stream position of the first of them. */
export interface Chunk {
  samples: Float32Array;
  firstSample: number;
}

/**
 * Counts the samples that go into the vocoder and come out of it, and the jumps between them.
 *
 * A jump is a place where the next frame spoken lies later or earlier in the stream than the frames before it imply:
 * frames were left out, put in or never came. The vocoder's output meets a jump later than its input.
 */
export class StreamPosition {
  pushedSamples = 0;
  private emittedSamples = 0;
  private jumps: { at: number; samples: number }[] = [];
  private leftOutSamples = 0;
  private endSample = Infinity;

  constructor(private readonly hopSamples: number) {}

  /** Samples inside the vocoder. */
  get heldSamples(): number {
    return this.pushedSamples - this.emittedSamples;
  }

  /** Record that the vocoder takes in `frames` frames. */
  push(frames: number): void {
    this.pushedSamples += frames * this.hopSamples;
  }

  /** Record that the next frame lies `frames` frames later in the stream than expected; negative for earlier. */
  leaveOut(frames: number): void {
    if (frames) this.jumps.push({ at: this.pushedSamples, samples: frames * this.hopSamples });
  }

  /** The stream ends before this sample; `emit` cuts off the samples from there on. */
  endAt(sample: number): void {
    this.endSample = sample;
  }

  /** Add stream positions to the vocoder's output. */
  emit(samples: Float32Array): Chunk {
    const firstSample = this.nextSample();
    this.emittedSamples += samples.length;
    const beyond = Math.min(samples.length, Math.max(0, this.nextSample() - this.endSample));
    // Sound that continues from a frame long past may lie before the stream's first sample.
    return { samples: samples.subarray(0, samples.length - beyond), firstSample: Math.max(0, firstSample) };
  }

  /** Stream position of the vocoder's next sample, which may lie before a jump that its input has passed. */
  private nextSample(): number {
    while (this.jumps.length && this.jumps[0].at <= this.emittedSamples) {
      this.leftOutSamples += this.jumps[0].samples;
      this.jumps.shift();
    }
    return this.emittedSamples + this.leftOutSamples;
  }
}
