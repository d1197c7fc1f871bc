/** A page's speaking: the worker that publishes what a microphone gives, until it is stopped. */

import type { Capture } from "./capture.js";
import { serverUrl } from "./parts.js";
import type { FromSpeaker, Speak, ToSpeaker } from "./speaker.js";

export class Speaking {
  private readonly worker = new Worker("speaker.js", { type: "module" });
  private isOver = false;

  /** Publish what `capture` gives, and close it at the end. Messages after `stop` are those of recordings only. */
  constructor(
    readonly capture: Capture,
    wanted: Pick<Speak, "rooms" | "token" | "quality" | "isRecorded">,
    onMessage: (message: FromSpeaker) => void,
  ) {
    const { worker } = this;
    worker.onmessage = ({ data }: MessageEvent<FromSpeaker>) => {
      if (!this.isOver || data.kind === "recorded" || data.kind === "recordedTile") onMessage(data);
    };
    worker.onerror = ({ message }) => {
      const detail = `The background worker of this page failed (${message}).`;
      if (!this.isOver) onMessage({ kind: "status", state: "failed", detail, room: "" });
    };
    const { port, rateHz } = capture;
    worker.postMessage({ kind: "speak", url: serverUrl(), ...wanted, microphone: port, rateHz } satisfies ToSpeaker, [port]);
  }

  /** End the stream; the worker ends when everything is sent. */
  stop(): void {
    this.isOver = true;
    this.worker.postMessage({ kind: "stop" } satisfies ToSpeaker);
    this.capture.close();
  }
}
