// Draws the model on two canvases: the whole run as a map, and the part in sight as lanes.

const LEFT = 74;
const CLIENT = 24;
const FAULT = 17;
const TOP = 22;
const EPOCHS = ['#3b82f6', '#f59e0b', '#10b981', '#a855f7', '#ef4444', '#14b8a6', '#ec4899', '#84cc16', '#6366f1', '#f97316'];
const KINDS = { append: '#2f6fe0', ack: '#1f9d61', beat: '#8d96aa', hello: '#a855f7', welcome: '#a855f7', chunk: '#d97706', stored: '#b8860b' };
const ANSWERS = { done: '#1f9d61', refused: '#b86e00', unknown: '#c62839', open: '#8d96aa' };

const scene = document.getElementById('scene');
const map = document.getElementById('map');
const layers = { messages: true, beats: false, disk: true, clients: true };
const sight = { scale: 'steps', from: 0, to: 1, now: 0 };

const last = () => (sight.scale === 'steps' ? Math.max(1, instants.length - 1) : Math.max(1, end));
const place = (at) => (sight.scale === 'steps' ? placeOf(at) : at);
const width = () => scene.clientWidth - LEFT - 14;
const x = (at) => LEFT + ((place(at) - sight.from) / (sight.to - sight.from)) * width();
const timeAtX = (px) => {
  const here = sight.from + ((px - LEFT) / width()) * (sight.to - sight.from);
  return sight.scale === 'steps' ? timeAt(here) : here;
};
// Lanes of nodes share the room that is there, within reason.
let NODE = 96;
function giveRoom() {
  const room = scene.parentElement.clientHeight - nodesTop() - 24 - (layers.clients ? model.clients.length * CLIENT : 0);
  NODE = Math.max(88, Math.min(150, Math.floor(room / Math.max(1, run.nodes))));
}
const nodesTop = () => TOP + model.faultRows * FAULT + 8;
const nodeTop = (node) => nodesTop() + node * NODE;
const nodeLine = (node) => nodeTop(node) + (NODE - 8) / 2;
const diskTop = (node, lane) => nodeTop(node) + NODE - ({ log: 30, snapshot: 21 }[lane] ?? 12);
const clientsTop = () => nodesTop() + run.nodes * NODE + 10;
const clientLine = (client) => clientsTop() + client * CLIENT + CLIENT / 2;
const sceneHeight = () => clientsTop() + (layers.clients ? model.clients.length * CLIENT : 0) + 12;
const ink = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
const colourOf = (epoch) => (model.epochs.includes(epoch) ? EPOCHS[model.epochs.indexOf(epoch) % EPOCHS.length] : '#8d96aa');

function canvasOf(canvas, height) {
  const ratio = window.devicePixelRatio || 1;
  const wide = canvas.parentElement.clientWidth;
  if (height !== undefined) canvas.style.height = `${height}px`;
  canvas.style.width = `${wide}px`;
  canvas.width = wide * ratio;
  canvas.height = (height ?? canvas.clientHeight) * ratio;
  const pen = canvas.getContext('2d');
  pen.setTransform(ratio, 0, 0, ratio, 0, 0);
  pen.font = '11px system-ui, sans-serif';
  pen.textBaseline = 'middle';
  return pen;
}

function draw() {
  giveRoom();
  const pen = canvasOf(scene, Math.max(sceneHeight(), scene.parentElement.clientHeight - 2));
  const inSight = (from, to) => x(to) >= LEFT - 2 && x(from) <= scene.clientWidth;
  pen.save();
  pen.beginPath();
  pen.rect(LEFT, 0, scene.clientWidth - LEFT, scene.clientHeight);
  pen.clip();
  drawClock(pen);
  model.nodes.forEach((node, number) => drawBands(pen, node, number, inSight));
  drawFaults(pen, inSight);
  if (layers.disk) model.nodes.forEach((node, number) => drawDisk(pen, node, number, inSight));
  if (layers.clients) model.clients.forEach((client, number) => drawOperations(pen, client, number, inSight));
  if (layers.messages) drawArrows(pen, inSight);
  model.nodes.forEach((node, number) => drawMarks(pen, node, number, inSight));
  drawLine(pen, records[sight.now]?.at ?? 0, ink('--accent'), 1.5, []);
  if (run.failed) drawError(pen);
  pen.restore();
  drawMap();
}

// A round step of time, at least so wide on the screen.
function drawClock(pen) {
  pen.fillStyle = ink('--quiet');
  pen.strokeStyle = ink('--line');
  pen.textAlign = 'left';
  let after = -1e9;
  const count = Math.max(2, Math.floor(width() / 130));
  for (let nth = 0; nth <= count; nth += 1) {
    const px = LEFT + (nth / count) * width();
    const at = timeAtX(px);
    if (px < after || at < 0 || at > end) continue;
    after = px + 100;
    pen.beginPath();
    pen.moveTo(px, TOP - 6);
    pen.lineTo(px, sceneHeight());
    pen.stroke();
    pen.fillText(`${clock(at)} s`, px + 4, 9);
  }
}

function drawBands(pen, node, number, inSight) {
  const top = nodeTop(number);
  node.bands.filter((band) => inSight(band.from, band.to)).forEach((band) => {
    const from = Math.max(LEFT, x(band.from));
    const to = Math.min(scene.clientWidth, x(band.to));
    pen.globalAlpha = band.role === 'serving' ? 0.42 : band.role === 'down' ? 0.12 : 0.15;
    pen.fillStyle = band.role === 'down' || band.role === 'starting' ? '#8d96aa' : colourOf(band.epoch);
    pen.fillRect(from, top + 3, Math.max(1, to - from), NODE - 8);
    pen.globalAlpha = 1;
    if (band.role === 'down') hatch(pen, from, top + 3, to - from, NODE - 8);
    const title = { down: 'down', starting: 'starting' }[band.role]
      ?? `${band.role === 'serving' ? 'MASTER' : band.role} ${band.standing.epoch > 0 ? `epoch ${band.standing.epoch}` : ''}`;
    label(pen, title, from + 5, top + 13, to - from - 8, ink('--ink'), band.role === 'serving');
  });
  pen.strokeStyle = ink('--quiet');
  pen.globalAlpha = 0.35;
  pen.beginPath();
  pen.moveTo(LEFT, nodeLine(number) + 0.5);
  pen.lineTo(scene.clientWidth, nodeLine(number) + 0.5);
  pen.stroke();
  pen.globalAlpha = 1;
}

function hatch(pen, left, top, wide, high) {
  pen.save();
  pen.beginPath();
  pen.rect(left, top, wide, high);
  pen.clip();
  pen.strokeStyle = ink('--quiet');
  pen.globalAlpha = 0.3;
  pen.beginPath();
  for (let at = left - high; at < left + wide; at += 9) {
    pen.moveTo(at, top + high);
    pen.lineTo(at + high, top);
  }
  pen.stroke();
  pen.restore();
}

function label(pen, text, px, py, room, colour, bold) {
  if (room < 18) return;
  pen.font = `${bold ? '600 ' : ''}11px system-ui, sans-serif`;
  pen.fillStyle = colour;
  pen.textAlign = 'left';
  let short = text;
  while (short.length > 1 && pen.measureText(short).width > room) short = `${short.slice(0, -2)}…`;
  if (short.length > 1) pen.fillText(short, px, py);
}

function drawFaults(pen, inSight) {
  model.faults.forEach((fault) => {
    const to = fault.to ?? end;
    if (!inSight(fault.from, to)) return;
    const left = x(fault.from);
    const wide = Math.max(3, x(to) - left);
    pen.fillStyle = ink('--bad');
    pen.globalAlpha = 0.09;
    fault.nodes.forEach((node) => pen.fillRect(left, nodeTop(node) + 3, wide, NODE - 8));
    pen.globalAlpha = 0.8;
    const top = TOP + fault.row * FAULT;
    pen.fillRect(left, top, wide, FAULT - 4);
    pen.globalAlpha = 1;
    const from = Math.max(LEFT, left);
    const inside = pen.measureText(fault.text).width < wide - 8;
    if (!inside && wide < 170) {
      pen.fillStyle = ink('--paper');
      pen.fillRect(left + wide + 2, top, Math.min(170, pen.measureText(fault.text).width) + 4, FAULT - 4);
    }
    label(pen, fault.text, inside ? from + 4 : left + wide + 4, top + 7, inside ? wide : 170, inside ? '#ffffff' : ink('--bad'), false);
  });
}

function drawDisk(pen, node, number, inSight) {
  node.disk.forEach((step) => {
    if (!inSight(step.from, step.to)) return;
    const left = x(step.from);
    pen.fillStyle = !step.record.good ? ink('--bad') : step.record.sync ? ink('--accent') : ink('--quiet');
    pen.globalAlpha = step.record.sync || !step.record.good ? 0.95 : 0.35;
    pen.fillRect(left, diskTop(number, step.record.lane), Math.max(1.5, x(step.to) - left), 6);
  });
  pen.globalAlpha = 1;
}

function drawOperations(pen, client, number, inSight) {
  const line = clientLine(number);
  client.ops.forEach((op) => {
    const to = op.end ?? end;
    if (!inSight(op.at, to)) return;
    const left = x(op.at);
    const wide = Math.max(3, x(to) - left);
    pen.fillStyle = ANSWERS[op.answer];
    pen.globalAlpha = op.answer === 'open' ? 0.35 : 0.85;
    pen.beginPath();
    pen.roundRect(left, line - 8, wide, 16, 3);
    pen.fill();
    pen.globalAlpha = 1;
    const from = Math.max(LEFT, left);
    label(pen, op.record.text, from + 4, line, left + wide - from - 6, op.answer === 'open' ? ink('--ink') : '#ffffff', false);
  });
}

function drawArrows(pen, inSight) {
  const shown = model.arrows.filter((arrow) =>
    (layers.beats || (arrow.record.kind !== 'beat')) && inSight(arrow.at, arrow.heard ?? arrow.at));
  const many = shown.length > 1200;
  shown.forEach((arrow) => {
    const down = arrow.to > arrow.from ? 1 : -1;
    const [left, top] = [x(arrow.at), nodeLine(arrow.from) + down * 3];
    const arrives = arrow.fate === 'heard';
    const [right, bottom] = arrives ? [x(arrow.heard), nodeLine(arrow.to) - down * 3] : [left + 14, top + down * NODE * 0.45];
    pen.strokeStyle = arrow.fate === 'lost' ? ink('--bad') : KINDS[arrow.record.kind] ?? ink('--ink');
    pen.fillStyle = pen.strokeStyle;
    pen.globalAlpha = many ? 0.25 : 0.8;
    pen.lineWidth = 1.1;
    pen.setLineDash(arrives ? [] : [3, 3]);
    pen.beginPath();
    pen.moveTo(left, top);
    pen.lineTo(right, bottom);
    pen.stroke();
    pen.setLineDash([]);
    if (arrow.fate === 'lost') cross(pen, right, bottom); else if (!many) head(pen, left, top, right, bottom);
  });
  pen.globalAlpha = 1;
  pen.lineWidth = 1;
}

function head(pen, left, top, right, bottom) {
  const angle = Math.atan2(bottom - top, right - left);
  pen.beginPath();
  pen.moveTo(right, bottom);
  pen.lineTo(right - 7 * Math.cos(angle - 0.4), bottom - 7 * Math.sin(angle - 0.4));
  pen.lineTo(right - 7 * Math.cos(angle + 0.4), bottom - 7 * Math.sin(angle + 0.4));
  pen.fill();
}

function cross(pen, px, py) {
  pen.lineWidth = 2;
  pen.beginPath();
  pen.moveTo(px - 4, py - 4);
  pen.lineTo(px + 4, py + 4);
  pen.moveTo(px + 4, py - 4);
  pen.lineTo(px - 4, py + 4);
  pen.stroke();
  pen.lineWidth = 1;
}

function drawMarks(pen, node, number, inSight) {
  const colours = { start: '--good', end: '--bad', power: '--bad', loud: '--warn', told: '--ink' };
  node.marks.forEach((mark) => {
    if (!inSight(mark.at, mark.at)) return;
    const [px, py] = [x(mark.at), nodeLine(number)];
    pen.fillStyle = ink(colours[mark.kind]);
    pen.strokeStyle = ink('--paper');
    pen.beginPath();
    if (mark.kind === 'start') { pen.moveTo(px - 5, py - 6); pen.lineTo(px + 6, py); pen.lineTo(px - 5, py + 6); }
    else if (mark.kind === 'end' || mark.kind === 'power') pen.rect(px - 5, py - 5, 10, 10);
    else pen.arc(px, py, mark.kind === 'loud' ? 4.5 : 3, 0, 7);
    pen.closePath();
    pen.fill();
    pen.stroke();
  });
}

function drawLine(pen, at, colour, wide, dash) {
  pen.strokeStyle = colour;
  pen.lineWidth = wide;
  pen.setLineDash(dash);
  pen.beginPath();
  pen.moveTo(x(at), 16);
  pen.lineTo(x(at), sceneHeight());
  pen.stroke();
  pen.setLineDash([]);
  pen.lineWidth = 1;
}

function drawError(pen) {
  drawLine(pen, run.failed_at, ink('--bad'), 2, [6, 3]);
  pen.font = '600 11px system-ui, sans-serif';
  pen.textAlign = 'right';
  const wide = pen.measureText('first error').width + 10;
  pen.fillStyle = ink('--bad');
  pen.fillRect(x(run.failed_at) - wide, sceneHeight() - 18, wide, 16);
  pen.fillStyle = '#ffffff';
  pen.fillText('first error', x(run.failed_at) - 5, sceneHeight() - 10);
  pen.textAlign = 'left';
}

// The whole run in one strip, always by time: epochs, faults, the part in sight, the error.
function drawMap() {
  const pen = canvasOf(map, 34);
  const wide = map.clientWidth - 14;
  const at = (time) => 7 + (time / Math.max(1, end)) * (wide - 14);
  const high = 20 / Math.max(1, run.nodes);
  model.nodes.forEach((node, number) => node.bands.forEach((band) => {
    if (band.role === 'down' || band.role === 'starting') return;
    pen.globalAlpha = band.role === 'serving' ? 0.9 : 0.3;
    pen.fillStyle = colourOf(band.epoch);
    pen.fillRect(at(band.from), 4 + number * high, Math.max(1, at(band.to) - at(band.from)), Math.max(1, high - 1));
  }));
  pen.globalAlpha = 0.8;
  pen.fillStyle = ink('--bad');
  model.faults.forEach((fault) => pen.fillRect(at(fault.from), 25, Math.max(2, at(fault.to ?? end) - at(fault.from)), 4));
  pen.globalAlpha = 1;
  if (run.failed) pen.fillRect(at(run.failed_at) - 1, 0, 3, 34);
  const [from, to] = sight.scale === 'steps' ? [timeAt(sight.from), timeAt(sight.to)] : [sight.from, sight.to];
  pen.strokeStyle = ink('--ink');
  pen.lineWidth = 1.5;
  pen.strokeRect(at(Math.max(0, from)) - 1, 1.5, Math.max(4, at(Math.min(end, to)) - at(Math.max(0, from)) + 2), 31);
  pen.fillStyle = ink('--accent');
  pen.fillRect(at(records[sight.now]?.at ?? 0), 0, 1.5, 34);
}
