import { mkdtemp, rm } from 'node:fs/promises'
import { availableParallelism, tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { writeResults } from '../test/fixtures/results.ts'
import type { BenchOptions } from './main.ts'
import { runTimed } from './timedProcess.ts'
import { type LedgerFile, measureHashing, writeLedgerFile } from './verifyLedger.ts'

/** How large the ledgers are, and how many events stand in a commit. */
const SIZES = [100_000, 1_000_000] as const
const EVENTS_PER_COMMIT = 100
const ROUNDS = 3

interface Row {
  readonly what: string
  readonly events: number
  readonly events_per_s: number
  /** The same without what a process takes for a ledger of almost nothing. */
  readonly events_per_s_after_start: number
  /** Events a second of processor time, times the cores: what the machine gives when nobody else uses it. */
  readonly events_per_s_of_all_cores: number
  /** Times the duration of hashing the same file by SHA-256 in one thread. */
  readonly times_floor: number
  readonly rss_mib: number
}

/** Time and memory of what is run on ledgers of 10^5 and 10^6 events, each in a fresh process, start included. */
const benchLedgers = async (
  what: string,
  toRun: (file: LedgerFile) => { readonly args: readonly string[]; readonly exitCode: number },
  cores: number,
): Promise<readonly Row[]> => {
  const dir = await mkdtemp(join(tmpdir(), 'chatelaine-bench-'))
  const rows: Row[] = []
  try {
    const small = await writeLedgerFile(join(dir, 'small.jsonl'), EVENTS_PER_COMMIT, EVENTS_PER_COMMIT)
    const startSeconds = await measureBest(toRun(small))
    for (const events of SIZES) {
      const file = await writeLedgerFile(join(dir, `${events}.jsonl`), events, EVENTS_PER_COMMIT)
      const { args, exitCode } = toRun(file)
      let best: Row | undefined
      for (let round = 0; round < ROUNDS; round++) {
        const floor = await measureHashing(file.path)
        const cost = await runTimed(args, exitCode)
        const row = {
          ...{ what, events: file.events, events_per_s: Math.round(file.events / cost.wallSeconds) },
          events_per_s_after_start: Math.round(file.events / (cost.wallSeconds - startSeconds)),
          events_per_s_of_all_cores: Math.round((file.events / cost.cpuSeconds) * cores),
          times_floor: Number((cost.wallSeconds / floor).toFixed(1)),
          rss_mib: Math.round(cost.rssMib),
        }
        if (best === undefined || row.events_per_s > best.events_per_s) best = row
      }
      if (best !== undefined) rows.push(best)
      await rm(file.path)
    }
    return rows
  } finally {
    await rm(dir, { recursive: true, force: true })
  }
}

const measureBest = async ({ args, exitCode }: Parameters<typeof toSeconds>[0]): Promise<number> => {
  const seconds: number[] = []
  for (let round = 0; round < ROUNDS; round++) seconds.push(await toSeconds({ args, exitCode }))
  return Math.min(...seconds)
}

const toSeconds = async (run: { readonly args: readonly string[]; readonly exitCode: number }): Promise<number> =>
  (await runTimed(run.args, run.exitCode)).wallSeconds

const print = async (name: string, title: string, rows: readonly Row[], isJson: boolean): Promise<void> => {
  const lines = [
    `${EVENTS_PER_COMMIT} events a commit; a fresh process each, its start included; the best of ${ROUNDS} rounds.`,
    `After the start: less what a process takes for a ledger of ${EVENTS_PER_COMMIT} events.`,
    `Memory by /usr/bin/time -v. The floor is SHA-256 of the same file in one thread, in the same round.`,
    '',
    '| what | events | events/s | events/s after the start | events/s of CPU time × cores | × floor | max RSS, MiB |',
    '|---|---:|---:|---:|---:|---:|---:|',
    ...rows.map(
      (row) =>
        `| ${row.what} | ${row.events} | ${row.events_per_s} | ${row.events_per_s_after_start} | ${row.events_per_s_of_all_cores} | ${row.times_floor} | ${row.rss_mib} |`,
    ),
  ]
  console.log(isJson ? JSON.stringify(rows) : lines.join('\n'))
  await writeResults(name, title, lines, `npm run bench -- ${name.replace('bench-', '')}`)
}

const CLI = fileURLToPath(new URL('../dist/src/cli/main.js', import.meta.url))

/** `ledger verify` of an export as users run it, in threads and with --fast. */
export const benchVerify = async ({ isJson }: BenchOptions): Promise<void> => {
  const toArgs = ({ path, vkey }: LedgerFile) => [CLI, 'ledger', 'verify', '--file', path, '--root-key', vkey]
  const all = await benchLedgers(
    'ledger verify, every signature',
    (file) => ({ args: toArgs(file), exitCode: 1 }),
    availableParallelism(),
  )
  const fast = await benchLedgers(
    'ledger verify --fast',
    (file) => ({ args: [...toArgs(file), '--fast'], exitCode: 1 }),
    availableParallelism(),
  )
  await print('bench-verify', 'Verifying a ledger', [...all, ...fast], isJson)
}

/** Verifying and folding every view, in one thread, as a service does that starts. */
export const benchRebuild = async ({ isJson }: BenchOptions): Promise<void> => {
  const script = fileURLToPath(new URL('./rebuild.ts', import.meta.url))
  const rows = await benchLedgers(
    'rebuild of all views',
    ({ path, vkey }) => ({ args: ['--import', 'tsx', script, path, vkey], exitCode: 0 }),
    1,
  )
  await print('bench-rebuild', 'Rebuilding all views from a ledger', rows, isJson)
}
