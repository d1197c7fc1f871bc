/** The AudioWorklet, in which the player runs. */

import { Player } from "./player.js";

declare const sampleRate: number;
declare class AudioWorkletProcessor {
  readonly port: MessagePort;
}
declare function registerProcessor(name: string, processor: new () => AudioWorkletProcessor): void;

class Processor extends AudioWorkletProcessor {
  private readonly player = new Player(sampleRate);

  constructor() {
    super();
    this.port.onmessage = ({ data }: MessageEvent<MessagePort>) => this.player.follow(data);
  }

  process(_inputs: Float32Array[][], [[out]]: Float32Array[][]): boolean {
    this.player.fill(out);
    return true;
  }
}

registerProcessor("player", Processor);
