/** Samples between the worker and the sound device: a queue of bounded length that is emptied sample by sample. */

const CAPACITY = 8 * 16_000;
const FADE = 0.95;

export class Ring {
  /** Number of samples taken out. */
  taken = 0;
  /** Number of underruns. */
  underruns = 0;

  private readonly samples = new Float32Array(CAPACITY);
  private readAt = 0;
  private count = 0;
  private isDue = false;
  private last = 0;

  /** Queue samples; a full ring drops the oldest. */
  write(samples: Float32Array): void {
    for (const sample of samples) {
      this.samples[(this.readAt + this.count) % CAPACITY] = sample;
      if (this.count < CAPACITY) this.count++;
      else {
        this.readAt = (this.readAt + 1) % CAPACITY;
        this.taken++;
      }
    }
    this.isDue ||= samples.length > 0;
  }

  /** No sound is due until more is written. */
  rest(): void {
    this.isDue = false;
  }

  /** The next sample; without one, the last one fades out. */
  next = (): number => {
    if (this.count) {
      this.last = this.samples[this.readAt];
      this.readAt = (this.readAt + 1) % CAPACITY;
      this.count--;
      this.taken++;
    } else {
      if (this.isDue) this.underruns++;
      this.isDue = false;
      this.last *= FADE;
    }
    return this.last;
  };
}
