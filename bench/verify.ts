import { performance } from 'node:perf_hooks'
import { createVerifier } from '../src/verify/verifier.ts'
import { createHistory, toEncrypted } from '../test/fixtures/ledgerHistory.ts'

/**
 * How fast the verifier reads: commits and events a second, for several commit sizes, with all signatures and with
 * `--fast`. Usage: `tsx bench/verify.ts [--json]`; a line for each case.
 */
const CASES = [
  { eventsPerCommit: 1, commits: 4000 },
  { eventsPerCommit: 10, commits: 2000 },
  { eventsPerCommit: 100, commits: 600 },
] as const
const ROUNDS = 5

const measure = ({ eventsPerCommit, commits }: (typeof CASES)[number], fast: boolean) => {
  const history = createHistory()
  history.created()
  history.opened('epoch-1')
  for (let at = 0; at < commits; at++)
    history.append(Array.from({ length: eventsPerCommit }, (_, index) => toEncrypted(at * eventsPerCommit + index)))
  const rounds = Array.from({ length: ROUNDS }, () => {
    const verifier = createVerifier({ pin: history.pin, anchors: [], fast })
    const start = performance.now()
    for (const message of history.messages) verifier.add(message)
    const report = verifier.finish()
    const seconds = (performance.now() - start) / 1000
    if (report.verdict !== 1) throw new Error('the sample ledger does not verify')
    return { seconds, events: report.events, commits: report.commits }
  }).sort((a, b) => a.seconds - b.seconds)
  const median = rounds[Math.floor(ROUNDS / 2)]
  if (median === undefined) throw new Error('no round was run')
  return {
    events_per_commit: eventsPerCommit,
    signatures: fast ? 'fast' : 'all',
    commits_per_s: Math.round(median.commits / median.seconds),
    events_per_s: Math.round(median.events / median.seconds),
  }
}

for (const fast of [false, true])
  for (const shape of CASES) {
    const row = measure(shape, fast)
    console.log(
      process.argv.includes('--json')
        ? JSON.stringify(row)
        : `${row.events_per_commit} events a commit, signatures ${row.signatures}: ${row.commits_per_s} commits/s, ${row.events_per_s} events/s`,
    )
  }
