/**
 * Which sparsity at which step, so that the curve moves with the sliders and not a call later.
 *
 * The rules are those of `pruning_core.schedule`, which decides; a test holds this file against it.
 */

/** Share of the steps after `begin_step` in which an open end lets the sparsity rise. */
const PRUNING_SHARE = 0.75;
/** An open `frequency` makes at least so many intervals, as far as there are steps, none longer than the other. */
const LEAST_INTERVALS = 40;
const LONGEST_INTERVAL = 100;
const MOST_POINTS = 240;

const DEFAULTS = {
  constant: { target_sparsity: 0.8, begin_step: 0, end_step: null, frequency: null },
  polynomial_decay: { initial_sparsity: 0, final_sparsity: 0.8, begin_step: 0, end_step: null, frequency: null, power: 3 },
  one_shot: { target_sparsity: 0.8, begin_step: 0 },
  iterative: { initial_sparsity: 0, final_sparsity: 0.8, rounds: 5, begin_step: 0, end_step: null },
};

/** Fill in what a schedule leaves open, for a training of `totalSteps`. */
export function resolved(schedule, totalSteps) {
  const whole = { ...DEFAULTS[schedule.kind], ...given(schedule) };
  if (whole.end_step === null) whole.end_step = openEnd(whole, totalSteps);
  if (whole.frequency === null) whole.frequency = openFrequency(whole);
  return whole;
}

function openEnd({ kind, begin_step }, totalSteps) {
  if (kind === "constant") return totalSteps;
  return begin_step + roundHalfEven(PRUNING_SHARE * (totalSteps - begin_step));
}

function openFrequency({ begin_step, end_step }) {
  const part = Math.floor((end_step - begin_step) / LEAST_INTERVALS);
  return Math.min(Math.max(part, 1), LONGEST_INTERVAL);
}

/** Sparsity that a resolved schedule asks for at `step`; 0 before `begin_step`. */
export function sparsityAt(schedule, step) {
  if (step < schedule.begin_step) return 0;
  switch (schedule.kind) {
    case "polynomial_decay":
      return polynomial(schedule, step);
    case "iterative":
      return staircase(schedule, step);
    default:
      return schedule.target_sparsity;
  }
}

/** Sparsity of the masks at `step`: they change at updates only, and keep still between them. */
export function maskSparsityAt(schedule, step) {
  const update = lastUpdate(schedule, step);
  return update === null ? 0 : sparsityAt(schedule, update);
}

/** The corners of the masks' sparsity from step 0 to `totalSteps`, as `[step, sparsity]`. */
export function corners(schedule, totalSteps) {
  const points = [[0, maskSparsityAt(schedule, 0)]];
  for (const step of updates(schedule, totalSteps)) {
    if (step > 0) points.push([step, sparsityAt(schedule, step)]);
  }
  points.push([totalSteps, maskSparsityAt(schedule, totalSteps)]);
  return points;
}

function given(schedule) {
  return Object.fromEntries(Object.entries(schedule).filter(([, value]) => value !== null));
}

function polynomial({ initial_sparsity, final_sparsity, begin_step, end_step, power }, step) {
  const span = end_step - begin_step;
  const progress = span > 0 ? Math.min((step - begin_step) / span, 1) : 1;
  return final_sparsity + (initial_sparsity - final_sparsity) * (1 - progress) ** power;
}

function staircase({ initial_sparsity, final_sparsity, rounds, ...schedule }, step) {
  const round = roundAt({ rounds, ...schedule }, step);
  if (round === rounds) return final_sparsity;
  const initialDensity = 1 - initial_sparsity;
  return 1 - initialDensity * ((1 - final_sparsity) / initialDensity) ** (round / rounds);
}

function roundAt({ rounds, begin_step, end_step }, step) {
  const span = end_step - begin_step;
  return span > 0 ? Math.min(Math.floor(((step - begin_step) * rounds) / span), rounds) : rounds;
}

function lastUpdate(schedule, step) {
  const { kind, begin_step, end_step, frequency } = schedule;
  if (step < begin_step) return null;
  if (kind === "one_shot") return begin_step;
  if (kind === "iterative") {
    return begin_step + Math.ceil((roundAt(schedule, step) * (end_step - begin_step)) / schedule.rounds);
  }
  return step >= end_step ? end_step : step - ((step - begin_step) % frequency);
}

/** Steps of the updates; of very many, so many that no eye misses one. */
function updates(schedule, totalSteps) {
  const { kind, begin_step, frequency, rounds } = schedule;
  const end = kind === "one_shot" ? begin_step : schedule.end_step;
  const span = end - begin_step;
  const count = kind === "iterative" ? Math.min(rounds, span) : Math.ceil(span / (frequency ?? 1));
  const stride = Math.max(1, Math.ceil(count / MOST_POINTS));
  const steps = [];
  for (let k = 0; k < count; k += stride) {
    steps.push(begin_step + (kind === "iterative" ? Math.ceil((k * span) / rounds) : k * frequency));
  }
  return [...steps, end].filter((step) => step <= totalSteps);
}

function roundHalfEven(number) {
  const floor = Math.floor(number);
  const isHalf = number - floor === 0.5;
  return isHalf ? floor + (floor % 2) : Math.round(number);
}
