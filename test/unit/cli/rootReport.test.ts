import { expect, test } from 'vitest'
import { reportRoots } from '../../../src/cli/rootReport.ts'
import { toKid } from '../../../src/core/ed25519.ts'
import { unwrap } from '../../fixtures/ledgerEntries.ts'
import { createMemoryRoot } from '../../fixtures/memoryRoot.ts'
import { createTelemetryLog } from '../../fixtures/telemetryLog.ts'

const signal = new AbortController().signal

test('the root in force is expected on the token, a former one is told, and one that the ledger does not name is a warning', async () => {
  const hsm = createMemoryRoot()
  const telemetry = createTelemetryLog()
  const first = unwrap(await hsm.createGenesis('main', signal)).rootPublicKey
  const report = async (...roots: readonly Uint8Array[]) => {
    const before = telemetry.lines.length
    await reportRoots({ hsm, telemetry }, { backend: 'main', roots }, signal)
    return telemetry.lines.slice(before).map(({ level, fields }) => [level, fields['kid']])
  }
  expect(await report(first)).toEqual([])
  const second = unwrap(await hsm.createNextRoot('main', [first], signal))
  expect(await report(first)).toEqual([['warn', toKid(second)]])
  expect(await report(first, second)).toEqual([['info', toKid(first)]])
  unwrap(await hsm.destroyRoot('main', second, signal))
  expect(await report(first, second)).toEqual([
    ['error', toKid(second)],
    ['info', toKid(first)],
  ])
  hsm.away = true
  expect(await report(first)).toEqual([['warn', undefined]])
})
