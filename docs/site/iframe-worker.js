// Lets the search work in pages opened as files: browsers start no Worker from a file, so a hidden frame takes its place.
// Material for MkDocs loads a script for this from the network unless one of this name is configured.
"use strict";

class IFrameWorker extends EventTarget {
  constructor(url) {
    super();
    const frame = document.createElement("iframe");
    frame.hidden = true;
    document.body.append(frame);
    this.frame = frame.contentWindow;
    this.pending = [];
    addEventListener("message", (event) => {
      if (event.source === this.frame) this.dispatchEvent(new MessageEvent("message", { data: event.data }));
    });
    const page = frame.contentDocument;
    // Inside the frame, the worker's own functions answer to the page, and importScripts loads one script after another.
    this.frame.postMessage = (data) => parentMessage(this.frame, data);
    this.frame.importScripts = (...urls) => urls.reduce((before, each) => before.then(() => load(page, each)), Promise.resolve());
    load(page, url).then(() => {
      this.ready = true;
      for (const data of this.pending) this.deliver(data);
    });
  }

  postMessage(data) {
    if (this.ready) this.deliver(data);
    else this.pending.push(data);
  }

  deliver(data) {
    this.frame.dispatchEvent(new this.frame.MessageEvent("message", { data }));
  }

  terminate() {
    this.frame.frameElement.remove();
  }
}

function parentMessage(source, data) {
  dispatchEvent(new MessageEvent("message", { data, source }));
}

function load(page, url) {
  return new Promise((resolve, reject) => {
    const script = page.createElement("script");
    script.src = url;
    script.onload = resolve;
    script.onerror = reject;
    page.head.append(script);
  });
}

if (location.protocol === "file:") window.Worker = IFrameWorker;
