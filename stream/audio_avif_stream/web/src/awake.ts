/** Time without the time during which this page was suspended. As `stream/audio_avif_stream/runtime/awake.py`. */

const LONGEST_STEP_S = 1;

/** A clock that stops while the page is suspended or busy, when messages of a peer cannot be received.
 *
 * It measures the silence of a peer. Read it several times a second; a longer step counts as one second.
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
