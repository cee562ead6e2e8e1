// Search works in pages opened from disk, too: browsers start no Worker there, so what it would do
// is done in a hidden frame.
if (location.protocol === "file:") {
  window.Worker = class extends EventTarget {
    constructor(url) {
      super();
      const frame = document.createElement("iframe");
      frame.hidden = true;
      document.body.appendChild(frame);
      const scope = frame.contentWindow;
      scope.importScripts = (...urls) => Promise.all(urls.map((each) => load(scope, each)));
      scope.postMessage = (data) => this.dispatchEvent(new MessageEvent("message", { data }));
      this.scope = scope;
      this.loaded = load(scope, url);
    }

    postMessage(data) {
      const send = () => this.scope.dispatchEvent(new MessageEvent("message", { data }));
      this.loaded.then(send);
    }

    terminate() {
      this.scope.frameElement.remove();
    }
  };

  function load(scope, url) {
    return new Promise((resolve, reject) => {
      const script = scope.document.createElement("script");
      Object.assign(script, { src: url, onload: resolve, onerror: reject });
      scope.document.body.appendChild(script);
    });
  }
}
