// What Gradio's page lacks: tabs in the URL and by arrow keys, Ctrl+V, alternative texts, and messages about refused
// files and the camera.
(() => {
  const MAX_BYTES = %MAX_BYTES%, MAX_TEXT = "%MAX_TEXT%", ACCEPTED = "%ACCEPTED%";
  const tabs = () => [...document.querySelectorAll('[role="tab"]')].filter(tab => tab.offsetParent);
  const hash = tab => '#' + tab.textContent.trim().toLowerCase().replace(/\W+/g, '-');
  const say = text => { const notice = document.querySelector('#notice p'); if (notice) notice.textContent = text; };
  let following = false;

  function show(wanted) {
    const tab = tabs().find(tab => hash(tab) === wanted) ?? tabs()[0];
    if (tab && tab.getAttribute('aria-selected') !== 'true') { following = true; tab.click(); following = false; }
  }
  document.addEventListener('click', event => {
    const tab = event.target.closest?.('[role="tab"]');
    if (tab && !following && location.hash !== hash(tab)) history.pushState(null, '', hash(tab));
    const camera = event.target.closest?.('[aria-label="Capture from camera"], [title="grant webcam access"]');
    if (camera && !navigator.mediaDevices)
      say('Browsers allow the camera only on https pages and on the server\'s own machine. Upload a picture instead.');
    else if (event.target.closest?.('#picture, #examples')) say('');
  }, true);
  addEventListener('popstate', () => show(location.hash));
  document.addEventListener('keydown', event => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!step || !event.target.matches?.('[role="tab"]')) return;
    const all = tabs(), next = all[(all.indexOf(event.target) + step + all.length) % all.length];
    next.focus(); next.click(); event.preventDefault();
  });

  const NO_CAMERA = {
    NotAllowedError: 'The browser does not let this page use the camera. Allow it in the address bar, or upload a picture.',
    NotFoundError: 'The browser found no camera. Upload a picture instead.',
    NotReadableError: 'The camera did not start; another program may be using it. Close that program, or upload a picture.',
  };
  const devices = navigator.mediaDevices, openCamera = devices?.getUserMedia?.bind(devices);
  if (openCamera) devices.getUserMedia = async wanted => {
    try {
      return await openCamera(wanted);
    } catch (error) {  // Gradio shows nothing
      say(NO_CAMERA[error.name] ?? `The camera did not start (${error.name}). Upload a picture instead.`);
      throw error;
    }
  };

  const tooLarge = file => file && file.size > MAX_BYTES;
  const refuse = (event, file) => {
    event.stopImmediatePropagation(); event.preventDefault();
    say(`The file is ${(file.size / 1e6).toFixed(1)} MB; at most ${MAX_TEXT} MB are accepted.`);
  };
  document.addEventListener('change', event => {
    if (!event.target.matches?.('#picture input[type="file"]')) return;
    const file = event.target.files[0];
    if (tooLarge(file)) { refuse(event, file); event.target.value = ''; } else say('');
  }, true);
  document.addEventListener('drop', event => {
    const file = event.dataTransfer?.files[0];
    if (tooLarge(file)) refuse(event, file);
  }, true);

  function give(file) {
    const input = document.querySelector('#picture input[type="file"]');
    if (!input) return false;
    const transfer = new DataTransfer();
    transfer.items.add(file);
    input.files = transfer.files;
    input.dispatchEvent(new Event('change', { bubbles: true }));
    return true;
  }
  document.addEventListener('paste', event => {
    if (event.target.matches?.('input, textarea')) return;
    const file = [...event.clipboardData.files].find(file => file.type.startsWith('image/'));
    if (!file) return say('The clipboard holds no picture. Copy a picture, not its address or file name.');
    if (give(file)) return;
    document.querySelector('#clear')?.click();  // while a picture is shown, there is no input for another
    const until = Date.now() + 5000;
    const retry = setInterval(() => { if (give(file) || Date.now() > until) clearInterval(retry); }, 50);
  });

  const ready = new MutationObserver(() => {
    if (!tabs().length) return;
    ready.disconnect();
    if (location.hash) show(location.hash);
  });
  ready.observe(document, { childList: true, subtree: true });

  // Gradio creates elements only when they are first shown.
  const each = (selector, work) => document.querySelectorAll(selector).forEach(work);
  const set = (element, name, value) => { if (element.getAttribute(name) !== value) element.setAttribute(name, value); };
  function complete() {
    each('.address:not([data-set])', place => {
      place.dataset.set = '';
      place.textContent = location.origin + location.pathname.replace(/\/$/, '');
    });
    // Listed one by one, so that an iPhone converts its HEIC pictures to JPEG.
    each('#picture input[type="file"]', input => set(input, 'accept', ACCEPTED));
    each('#picture img', image => set(image, 'alt', 'the picture to classify'));
    each('#heat img', image => set(image, 'alt', 'Grad-CAM map over the picture'));
    each('#examples .thumbnail-item', button => {
      const caption = button.querySelector('.caption-label')?.textContent.trim() ?? '';
      const words = caption.replace(/^\u2713\s*(.*)/, '$1, predicted correctly').replace(/^\u2717\s*/, '');
      set(button, 'aria-label', `Test image: ${words}`);
      button.querySelectorAll('img').forEach(image => set(image, 'alt', words));
    });
  }
  new MutationObserver(complete).observe(document, { childList: true, subtree: true });
})();
