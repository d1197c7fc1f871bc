/** The path of the samples to the sound device: the ring, the meter, the volume. */

import { RATE_HZ } from "./config.js";
import { openOutlet, type Outlet } from "./outlet.js";

export class Sound {
  /** Whether the device shall play; a phone call, for example, may suspend it meanwhile. */
  private isWanted = true;

  private constructor(
    private readonly context: AudioContext,
    private readonly outlet: Outlet,
    readonly analyser: AnalyserNode,
    private readonly gain: GainNode,
  ) {
    context.onstatechange = () => {
      if (this.isWanted && context.state !== "closed") void context.resume();
    };
  }

  /** Opens the sound device; must be called from a click. Throws the message to show where it does not open. */
  static async open(): Promise<Sound> {
    if (!("WebAssembly" in window)) {
      throw new Error("This browser has no WebAssembly, which the vocoder needs: the stream can be watched, not heard.");
    }
    if (!("AudioContext" in window)) throw new Error("This browser has no AudioContext: the stream can be watched, not heard.");
    let context: AudioContext;
    try {
      context = new AudioContext({ sampleRate: RATE_HZ, latencyHint: "interactive" });
    } catch {
      context = new AudioContext({ latencyHint: "interactive" }); // the player resamples
    }
    void context.resume();
    const outlet = await openOutlet(context);
    const [analyser, gain] = [context.createAnalyser(), context.createGain()];
    analyser.fftSize = 2048;
    outlet.node.connect(analyser).connect(gain).connect(context.destination);
    return new Sound(context, outlet, analyser, gain);
  }

  resume(): void {
    this.isWanted = true;
    void this.context.resume();
  }

  suspend(): void {
    this.isWanted = false;
    void this.context.suspend();
  }

  /** Set the volume, 0 to 1. */
  setVolume(share: number): void {
    this.gain.gain.setTargetAtTime(share * share, this.context.currentTime, 0.02); // as ears hear it
  }

  /** A new port from the worker to the ring. */
  openPort(): MessagePort {
    const { port1, port2 } = new MessageChannel();
    this.outlet.follow(port2);
    return port1;
  }

  get blockS(): number {
    return this.outlet.blockS;
  }

  /** Delay from the ring to the ear, with the block that waits while another plays. */
  get latencyS(): number {
    return 2 * this.blockS + (this.context.baseLatency || 0) + (this.context.outputLatency || 0);
  }
}
