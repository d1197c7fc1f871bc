/** What a page sends: its microphone, or silence where there is none. */

import { RATE_HZ } from "./config.js";

/** What the browser shall do to the microphone's sound. */
export type Processing = Pick<MediaTrackConstraints, "echoCancellation" | "noiseSuppression" | "autoGainControl">;

/** Samples, and when they were captured in milliseconds since 1970. */
export interface Piece {
  samples: Float32Array;
  atMs: number;
}

/** A source of pieces, which come on a port. */
export interface Capture {
  /** The port of the pieces, and the rate of their samples. */
  readonly port: MessagePort;
  readonly rateHz: number;
  readonly analyser: AnalyserNode | null;
  /** From the microphone to this page, as far as the browser says it. */
  readonly latencyS: number | null;
  /** Why this is silence, "" for a microphone. */
  readonly whySilent: string;
  /** Change the processing; the samples go on. Throws the message to show where the microphone does not open again. */
  process(processing: Processing): Promise<void>;
  /** Send silence from now on, or the microphone's sound again. */
  mute(isMute: boolean): void;
  close(): void;
}

/** The open microphone. */
export class Microphone implements Capture {
  readonly whySilent = "";
  private isMute = false;
  private isClosed = false;
  private changes = 0;

  private constructor(
    private readonly context: AudioContext,
    private readonly node: AudioWorkletNode,
    readonly analyser: AnalyserNode,
    readonly port: MessagePort,
    private stream: MediaStream,
    private source: MediaStreamAudioSourceNode,
  ) {
    context.onstatechange = () => {
      if (context.state !== "closed") void context.resume(); // a phone call may have suspended it
    };
  }

  /** Opens the microphone; throws the message to show where it does not open. */
  static async open(processing: Processing): Promise<Microphone> {
    if (!("mediaDevices" in navigator) || !("AudioWorkletNode" in window)) {
      throw new Error("Browsers open the microphone only for pages that came over HTTPS, or from localhost.");
    }
    const stream = await openStream(processing);
    try {
      return await Microphone.of(stream);
    } catch (error) {
      stop(stream);
      throw error;
    }
  }

  private static async of(stream: MediaStream): Promise<Microphone> {
    let [context, source] = connect(stream, new AudioContext({ sampleRate: RATE_HZ }));
    if (!source) [context, source] = connect(stream, new AudioContext()); // the worker resamples
    if (!source) throw new Error("No microphone could be opened.");
    try {
      await context.audioWorklet.addModule("microphone.js");
    } catch (error) {
      void context.close();
      throw error;
    }
    const node = new AudioWorkletNode(context, "microphone", { channelCount: 1, channelCountMode: "explicit", numberOfOutputs: 0 });
    const analyser = context.createAnalyser();
    analyser.fftSize = 2048;
    source.connect(analyser);
    source.connect(node);
    const { port1, port2 } = new MessageChannel();
    node.port.postMessage(port2, [port2]);
    void context.resume();
    return new Microphone(context, node, analyser, port1, stream, source);
  }

  get rateHz(): number {
    return this.context.sampleRate;
  }

  get latencyS(): number | null {
    const { latency } = this.stream.getAudioTracks()[0]?.getSettings() as { latency?: number };
    return latency === undefined ? null : latency + (this.context.baseLatency || 0);
  }

  /** Browsers do not change the processing of an open microphone, so it is opened again; the last change counts. */
  async process(processing: Processing): Promise<void> {
    const change = ++this.changes;
    const stream = await openStream(processing);
    if (this.isClosed || change !== this.changes) {
      stop(stream);
      return;
    }
    this.source.disconnect();
    stop(this.stream);
    this.stream = stream;
    this.source = this.context.createMediaStreamSource(stream);
    this.source.connect(this.analyser);
    this.source.connect(this.node);
    this.mute(this.isMute);
  }

  mute(isMute: boolean): void {
    this.isMute = isMute;
    for (const track of this.stream.getTracks()) track.enabled = !isMute;
  }

  close(): void {
    this.isClosed = true;
    stop(this.stream);
    void this.context.close();
  }
}

const SILENCE_S = 0.032;

/** Silence in real time, for a page that may not use a microphone and still takes part in a call. */
export class Silence implements Capture {
  readonly rateHz = RATE_HZ;
  readonly analyser = null;
  readonly latencyS = null;
  readonly port: MessagePort;
  private readonly timer: number;
  private samples = 0;

  constructor(readonly whySilent: string) {
    const { port1, port2 } = new MessageChannel();
    this.port = port1;
    const beganMs = performance.now();
    this.timer = window.setInterval(() => {
      const due = Math.round(((performance.now() - beganMs) / 1000) * RATE_HZ);
      port2.postMessage({ samples: new Float32Array(due - this.samples), atMs: Date.now() } satisfies Piece);
      this.samples = due;
    }, SILENCE_S * 1000);
  }

  process(): Promise<void> {
    return Promise.resolve();
  }

  mute(): void {
    return;
  }

  close(): void {
    clearInterval(this.timer);
  }
}

async function openStream(processing: Processing): Promise<MediaStream> {
  try {
    return await navigator.mediaDevices.getUserMedia({ audio: { channelCount: 1, ...processing } });
  } catch (error) {
    const isRefused = error instanceof DOMException && error.name === "NotAllowedError";
    const sentence = isRefused ? "Access to the microphone was denied: allow it in the browser's address bar." : "No microphone could be opened.";
    throw new Error(sentence, { cause: error });
  }
}

function stop(stream: MediaStream): void {
  for (const track of stream.getTracks()) track.stop();
}

/** A microphone's source, null where this context takes none of another rate. */
function connect(stream: MediaStream, context: AudioContext): [AudioContext, MediaStreamAudioSourceNode | null] {
  try {
    return [context, context.createMediaStreamSource(stream)];
  } catch {
    void context.close();
    return [context, null];
  }
}
