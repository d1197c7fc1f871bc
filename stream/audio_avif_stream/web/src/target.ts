/** What raised the target of the jitter buffer last: copies that tiles wait for, or else late arrivals. */
export class TargetWatch {
  private seenS: number | null = null;
  private seenCopies = 0;
  private reason: "" | "jitter" | "copies" = "";

  /** Takes the target as it is now, and how many copies come with a tile; "" where it never rose. */
  raisedBy(targetS: number, copies: number): "" | "jitter" | "copies" {
    if (this.seenS !== null && targetS > this.seenS + 1e-3) {
      this.reason = copies > this.seenCopies ? "copies" : "jitter";
      this.seenCopies = copies;
    }
    this.seenS = targetS;
    return this.reason;
  }
}
