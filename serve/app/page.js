// What Gradio's page does not do: tabs in the address and by arrow keys, Ctrl+V, and words for what is refused.
(() => {
  const MAX_BYTES = %MAX_BYTES%, MAX_TEXT = "%MAX_TEXT%";
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
    if (event.target.closest?.('[aria-label="Capture from camera"]') && !navigator.mediaDevices)
      say('The browser gives no camera to this page: it needs https, or an address on this machine.');
    else if (event.target.closest?.('#picture, #examples')) say('');
  }, true);
  addEventListener('popstate', () => show(location.hash));
  document.addEventListener('keydown', event => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!step || !event.target.matches?.('[role="tab"]')) return;
    const all = tabs(), next = all[(all.indexOf(event.target) + step + all.length) % all.length];
    next.focus(); next.click(); event.preventDefault();
  });

  const tooLarge = file => file && file.size > MAX_BYTES;
  const refuse = (event, file) => {
    event.stopImmediatePropagation(); event.preventDefault();
    say(`The file has ${(file.size / 1e6).toFixed(1)} MB; at most ${MAX_TEXT} MB are accepted.`);
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
    if (!file) return say('What was pasted is no picture; copy a picture, not its address or its file name.');
    if (give(file)) return;
    document.querySelector('#clear')?.click();  // where a picture is shown, nothing accepts another
    const until = Date.now() + 5000;
    const retry = setInterval(() => { if (give(file) || Date.now() > until) clearInterval(retry); }, 50);
  });

  const ready = new MutationObserver(() => {
    if (!tabs().length) return;
    ready.disconnect();
    if (location.hash) show(location.hash);
  });
  ready.observe(document, { childList: true, subtree: true });
  // The other tab's content comes when it is opened.
  new MutationObserver(() => document.querySelectorAll('.address:not([data-set])').forEach(place => {
    place.dataset.set = '';
    place.textContent = location.origin + location.pathname.replace(/\/$/, '');
  })).observe(document, { childList: true, subtree: true });
})();
