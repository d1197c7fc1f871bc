/** The rate of a stream's pictures over the last seconds. */

const WINDOW_S = 5;

export class RateMeter {
  private spent: { atS: number; bytes: number }[] = [];

  push(bytes: number, nowS: number): void {
    this.spent.push({ atS: nowS, bytes });
    this.forget(nowS);
  }

  kbps(nowS: number): number {
    this.forget(nowS);
    const spanS = this.spent.length ? Math.max(1, nowS - this.spent[0].atS) : 1;
    return (this.spent.reduce((sum, each) => sum + each.bytes, 0) * 8) / 1000 / spanS;
  }

  private forget(nowS: number): void {
    while (this.spent.length && this.spent[0].atS <= nowS - WINDOW_S) this.spent.shift();
  }
}
