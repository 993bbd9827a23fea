// Every text that is too faint: below 4.5 to 1, or 3 to 1 where it is large, as WCAG 2.2 AA measures it.
(() => {
  const parse = (text) => {
    const made = text.match(/[\d.]+/g);
    if (!made) return [0, 0, 0, 0];
    const scale = text.startsWith("color(") ? 255 : 1;
    const [r, g, b, a = 1] = made.map(Number);
    return [r * scale, g * scale, b * scale, a];
  };
  const over = (top, below) => [0, 1, 2].map((i) => top[i] * top[3] + below[i] * (1 - top[3])).concat(1);
  const light = (colour) => {
    const [r, g, b] = colour.map((one) => { const part = one / 255; return part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4; });
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const ground = (node) => {
    if (!node) return [255, 255, 255, 1];
    const rect = node.tagName.toLowerCase() === "a" && node.querySelector ? node.querySelector(":scope > rect") : null;
    const own = parse(rect ? getComputedStyle(rect).fill : getComputedStyle(node).backgroundColor);
    return own[3] === 1 ? own : over(own, ground(node.parentElement));
  };
  const faint = [];
  for (const node of document.querySelectorAll("body *")) {
    const text = [...node.childNodes].filter((one) => one.nodeType === Node.TEXT_NODE && one.textContent.trim()).map((one) => one.textContent.trim()).join(" ");
    if (!text || /^(SCRIPT|STYLE|NOSCRIPT|TITLE)$/i.test(node.tagName) || !node.checkVisibility({ opacityProperty: true, visibilityProperty: true })) continue;
    const style = getComputedStyle(node), drawn = node instanceof SVGElement;
    const below = ground(node.parentElement && drawn ? node.parentElement : node), own = over(parse(drawn ? style.fill : style.color), below);
    const [high, low] = [light(own), light(below)].sort((a, b) => b - a), ratio = (high + 0.05) / (low + 0.05);
    const size = parseFloat(style.fontSize), large = size >= 24 || (size >= 18.66 && Number(style.fontWeight) >= 700);
    if (ratio < (large ? 3 : 4.5)) faint.push(`${text.slice(0, 40)}: ${ratio.toFixed(2)}`);
  }
  return faint;
})()
