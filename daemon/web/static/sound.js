/* The sound of a Model 33, made in the browser: the motor, the type wheel, the carriage return, the bell. No recordings.

    const sound = new asr33.Sound();
    await sound.turnOn();   // after a click: browsers allow sound only then
    sound.strike(byte);     // at the moment of the strike
    sound.turnOff(); */
"use strict";
(() => {
  const BEL = 0x07, LF = 0x0a, CR = 0x0d;

  class Sound {
    constructor() {
      this.isOn = false;
    }

    async turnOn() {
      if (!this.context) this._build();
      await this.context.resume();
      this.isOn = true;
      this.out.gain.setTargetAtTime(1, this.context.currentTime, 0.15);
    }

    turnOff() {
      this.isOn = false;
      if (!this.context) return;
      this.out.gain.setTargetAtTime(0, this.context.currentTime, 0.1);
      setTimeout(() => this.isOn || this.context.suspend(), 600);
    }

    strike(byte) {
      if (!this.isOn) return;
      const at = this.context.currentTime + 0.005;
      byte &= 0x7f;
      this._clutch(at);
      if (byte === BEL) this._bell(at + 0.03);
      else if (byte === CR) this._return(at);
      else if (byte === LF) this._feed(at);
      else if (byte > 0x20 && byte < 0x7f) this._hammer(at + 0.02);
    }

    _build() {
      const context = (this.context = new AudioContext());
      const press = new DynamicsCompressorNode(context, { threshold: -16, ratio: 5 });
      this.out = new GainNode(context, { gain: 0 });
      this.out.connect(press).connect(context.destination);
      this.hiss = context.createBuffer(1, context.sampleRate, context.sampleRate);
      const samples = this.hiss.getChannelData(0);
      for (let i = 0; i < samples.length; i++) samples[i] = Math.random() * 2 - 1;
      this._motor();
    }

    /* A synchronous motor and its belt: hum of the mains, and the whir of gears. */
    _motor() {
      const { context } = this;
      for (const [pitch, level] of [[60, 0.03], [120, 0.035], [180, 0.012], [241, 0.008]]) {
        const hum = new OscillatorNode(context, { frequency: pitch, type: pitch === 120 ? "triangle" : "sine" });
        hum.connect(new GainNode(context, { gain: level })).connect(this.out);
        hum.start();
      }
      const whir = new AudioBufferSourceNode(context, { buffer: this.hiss, loop: true });
      const tone = new BiquadFilterNode(context, { type: "bandpass", frequency: 900, Q: 0.8 });
      whir.connect(tone).connect(new GainNode(context, { gain: 0.012 })).connect(this.out);
      whir.start();
    }

    _noise(at, length, type, pitch, q, level) {
      const { context } = this;
      const source = new AudioBufferSourceNode(context, { buffer: this.hiss });
      const tone = new BiquadFilterNode(context, { type, frequency: pitch, Q: q });
      const volume = new GainNode(context, { gain: 0 });
      volume.gain.setValueAtTime(level, at);
      volume.gain.exponentialRampToValueAtTime(0.0005, at + length);
      source.connect(tone).connect(volume).connect(this.out);
      source.start(at, Math.random() * 0.8, length + 0.02);
    }

    _knock(at, length, pitch, level) {
      const knock = new OscillatorNode(this.context, { frequency: pitch });
      const volume = new GainNode(this.context, { gain: 0 });
      volume.gain.setValueAtTime(level, at);
      volume.gain.exponentialRampToValueAtTime(0.0005, at + length);
      knock.frequency.exponentialRampToValueAtTime(pitch * 0.6, at + length);
      knock.connect(volume).connect(this.out);
      knock.start(at);
      knock.stop(at + length + 0.02);
    }

    /* The selector magnet and the main shaft's clutch, at each character. */
    _clutch(at) {
      this._noise(at, 0.03, "bandpass", 2600, 1.5, 0.1);
      this._noise(at + 0.06, 0.025, "bandpass", 1700, 1.2, 0.07);
    }

    /* The hammer throws the type wheel against the paper. */
    _hammer(at) {
      const force = 0.85 + Math.random() * 0.3;
      this._knock(at, 0.055, 165 * force, 0.4 * force);
      this._noise(at, 0.045, "lowpass", 1500 * force, 0.7, 0.42 * force);
      this._noise(at + 0.004, 0.02, "highpass", 3600, 0.7, 0.1 * force);
    }

    _return(at) {
      this._noise(at + 0.02, 0.24, "bandpass", 1200, 0.6, 0.09);
      this._knock(at + 0.24, 0.1, 92, 0.5);
      this._noise(at + 0.24, 0.09, "lowpass", 700, 0.7, 0.4);
    }

    _feed(at) {
      for (const later of [0.02, 0.05, 0.075]) this._noise(at + later, 0.022, "bandpass", 3100, 2.5, 0.18);
      this._knock(at + 0.05, 0.05, 130, 0.2);
    }

    _bell(at) {
      for (const [pitch, level, length] of [[2093, 0.22, 1.4], [4270, 0.1, 0.8], [6480, 0.05, 0.4]]) {
        const tone = new OscillatorNode(this.context, { frequency: pitch });
        const volume = new GainNode(this.context, { gain: 0 });
        volume.gain.setValueAtTime(level, at);
        volume.gain.exponentialRampToValueAtTime(0.0005, at + length);
        tone.connect(volume).connect(this.out);
        tone.start(at);
        tone.stop(at + length);
      }
    }
  }

  /* Makes a button that turns the sound on and off. */
  function soundButton(button) {
    const sound = new Sound();
    button.addEventListener("click", async () => {
      if (sound.isOn) sound.turnOff();
      else await sound.turnOn();
      button.setAttribute("aria-pressed", String(sound.isOn));
    });
    return sound;
  }

  globalThis.asr33 = { ...globalThis.asr33, Sound, soundButton };
})();
