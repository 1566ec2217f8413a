/* The window on the paper: it follows the last line until the reader scrolls up, and leads back. */
"use strict";
(() => {
  const NEAR = 30; // px from the end that count as the end

  class Roll {
    constructor(scroller, button) {
      this.scroller = scroller;
      this.button = button;
      this.isFollowing = true;
      this.height = 0;
      this.calm = window.matchMedia("(prefers-reduced-motion: reduce)").matches;
      scroller.addEventListener("scroll", () => this._onScroll(), { passive: true });
      button.addEventListener("click", () => this.follow());
    }

    /* Watches the growth of a Sheet. */
    watch(sheet) {
      this.sheet = sheet;
      new ResizeObserver(() => this.settle()).observe(sheet.root);
      new ResizeObserver(() => this.settle()).observe(this.scroller);
      this.settle();
    }

    follow() {
      this.isFollowing = true;
      this.settle();
      this.scroller.focus({ preventScroll: true });
    }

    /* Shows the end of the paper, if the reader is there. The paper moves up by a line as the platen turns it. */
    settle() {
      const { scroller, sheet } = this, grown = sheet.root.offsetHeight - this.height;
      this.height = sheet.root.offsetHeight;
      this.button.hidden = this.isFollowing;
      if (!this.isFollowing) return;
      scroller.scrollTop = scroller.scrollHeight;
      const line = sheet.linePx / sheet.scale;
      if (grown > 0 && grown < 1.5 * line && !this.calm && !document.hidden) {
        sheet.root.animate([{ transform: `translateY(${line}px)` }, { transform: "none" }], { duration: 80 });
      }
    }

    _onScroll() {
      const { scroller } = this;
      const left = scroller.scrollHeight - scroller.scrollTop - scroller.clientHeight;
      // Growth moves the end away without the reader's doing: only a way up ends the following.
      if (left < NEAR) this.isFollowing = true;
      else if (scroller.scrollTop < this.before - 2) this.isFollowing = false;
      this.before = scroller.scrollTop;
      this.button.hidden = this.isFollowing;
    }
  }

  globalThis.asr33 = { ...globalThis.asr33, Roll };
})();
