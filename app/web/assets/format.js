/** Figures in words. Every function takes the API's units: fractions, bytes, seconds. */

const LANGUAGE = "en";
const UNITS = ["B", "kB", "MB", "GB", "TB"];

const whole = new Intl.NumberFormat(LANGUAGE, { maximumFractionDigits: 0 });
const moment = new Intl.DateTimeFormat(LANGUAGE, { dateStyle: "medium", timeStyle: "short" });
const ago = new Intl.RelativeTimeFormat(LANGUAGE, { numeric: "auto" });

/** `283994` → "283,994". */
export function count(number) {
  return whole.format(number);
}

/** "1 layer", "2 layers". */
export function counted(number, noun) {
  return `${count(number)} ${noun}${number === 1 ? "" : "s"}`;
}

/** Three significant digits in decimal units: `1174885` → "1.17 MB". */
export function bytes(number) {
  const power = number < 1000 ? 0 : Math.min(Math.floor(Math.log10(number) / 3), UNITS.length - 1);
  const value = number / 1000 ** power;
  const digits = power === 0 || value >= 100 ? 0 : value >= 10 ? 1 : 2;
  return `${value.toFixed(digits)} ${UNITS[power]}`;
}

/** `0.9` → "90 %"; as many digits as are needed, and at most `digits`. */
export function percent(fraction, digits = 1) {
  const number = new Intl.NumberFormat(LANGUAGE, { maximumFractionDigits: digits });
  return `${number.format(fraction * 100)} %`;
}

/** With all its digits, so that figures below each other line up: `0.9` → "90.0 %". */
export function exactPercent(fraction, digits = 1) {
  return `${(fraction * 100).toFixed(digits)} %`;
}

/** A difference of two shares: `-0.0056` → "−0.56 points". */
export function points(difference) {
  return `${signed((difference * 100).toFixed(2))} points`;
}

/** Four significant digits, for losses: "0.1234", "12.35". */
export function figure(number) {
  if (number === 0) return "0";
  const size = Math.abs(number);
  if (size >= 10_000 || size < 0.0001) return number.toExponential(2);
  return number.toFixed(size >= 100 ? 1 : size >= 10 ? 2 : size >= 1 ? 3 : 4);
}

/** A number with its sign, and a real minus. */
export function signed(number) {
  const text = String(number);
  if (Number(text) === 0) return `±${text.replace("-", "")}`;
  return text.startsWith("-") ? `−${text.slice(1)}` : `+${text}`;
}

/** `200` → "3 min 20 s". */
export function duration(seconds) {
  const total = Math.max(0, Math.round(seconds));
  if (total < 60) return `${total} s`;
  if (total < 3600) return `${Math.floor(total / 60)} min ${total % 60} s`;
  return `${Math.floor(total / 3600)} h ${Math.floor((total % 3600) / 60)} min`;
}

/** A shape as Keras writes it: `[3, 3, 1, 32]` → "3 × 3 × 1 × 32"; a free size is "any". */
export function shape(sizes) {
  return sizes.map((size) => size ?? "any").join(" × ") || "scalar";
}

/** When, for the eye: "5 minutes ago"; after a day, the date. */
export function since(time) {
  const seconds = (new Date(time) - Date.now()) / 1000;
  if (seconds > -60) return "just now";
  if (seconds > -3600) return ago.format(Math.round(seconds / 60), "minute");
  if (seconds > -86_400) return ago.format(Math.round(seconds / 3600), "hour");
  return at(time);
}

/** The date and the time of day. */
export function at(time) {
  return moment.format(new Date(time));
}
