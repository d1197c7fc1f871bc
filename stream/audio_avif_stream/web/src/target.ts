/** What raised the target of the jitter buffer last: copies that tiles wait for, or else late arrivals. */
export class TargetWatch {
  private seenAtS: number | null = null;
  private seenCopies = 0;
  private reason: "" | "jitter" | "copies" = "";

  /** Takes the target as it is now, and how many copies come with a tile; "" where it never rose. */
  raisedBy(targetS: number, copies: number): "" | "jitter" | "copies" {
    if (this.seenAtS !== null && targetS > this.seenAtS + 1e-3) {
      this.reason = copies > this.seenCopies ? "copies" : "jitter";
      this.seenCopies = copies;
    }
    this.seenAtS = targetS;
    return this.reason;
  }
}
