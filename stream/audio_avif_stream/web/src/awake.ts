/** Time without the time in which this page stood still itself. As `stream/audio_avif_stream/runtime/awake.py`. */

const LONGEST_STEP_S = 1;

/** A clock that stops while the page is suspended or busy: what a peer said meanwhile could not be heard.
 *
 * The silence of a peer is judged by it. It must be read several times a second; of a longer step one second counts.
 */
export class AwakeClock {
  private awakeS = 0;
  private readS: number;

  constructor(private readonly clockS: () => number) {
    this.readS = clockS();
  }

  nowS(): number {
    const nowS = this.clockS();
    this.awakeS += Math.min(nowS - this.readS, LONGEST_STEP_S);
    this.readS = nowS;
    return this.awakeS;
  }
}
