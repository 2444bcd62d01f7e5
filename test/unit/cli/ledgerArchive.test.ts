import { spawnSync } from 'node:child_process'
import { mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { toSegmentName } from '../../../src/cli/archiveNames.ts'
import { appendToArchive, findEnd } from '../../../src/cli/archiveWriter.ts'
import { openLedgerFiles } from '../../../src/cli/ledgerFiles.ts'
import { parseExportLine } from '../../../src/verify/exportLine.ts'
import { createReaders } from '../../../src/verify/readers.ts'
import { createVerifier } from '../../../src/verify/verifier.ts'
import { addExport } from '../../../src/verify/verifyExport.ts'
import { formatVkey } from '../../../src/verify/vkey.ts'
import { createSampleHistory } from '../../fixtures/ledgerHistory.ts'
import { PYTHON } from '../../fixtures/pythonVerifier.ts'
import type { Messages } from '../../fixtures/tamperings.ts'

const { messages, pin } = createSampleHistory(9)
const SEGMENT_BYTES = 3000

let dir: string
beforeEach(async () => {
  dir = join(await mkdtemp(join(tmpdir(), 'chatelaine-archive-')), 'archive')
})
afterEach(() => rm(join(dir, '..'), { recursive: true, force: true }))

async function* nothing(): AsyncGenerator<Uint8Array> {}
async function* from(given: Messages) {
  yield* given
}
const append = async (last: number, given = messages) => {
  const begin = await findEnd(dir)
  if (!begin.ok) throw new Error(begin.error.message)
  const rest = given.filter(({ seq }) => seq > begin.value.seq)
  return appendToArchive(from(rest), {
    dir,
    begin: begin.value,
    last,
    segmentBytes: SEGMENT_BYTES,
  })
}
const readAll = async (): Promise<readonly number[]> => {
  const files = await openLedgerFiles(dir, { pin, anchors: [], witnessKeys: [] }, { stdin: nothing() })
  if (!files.ok) throw new Error(files.error.message)
  const seqs: number[] = []
  for (const { open } of files.value.files) {
    let text = ''
    for await (const chunk of open()) text += Buffer.from(chunk).toString()
    for (const line of text.trimEnd().split('\n')) {
      const message = parseExportLine(Buffer.from(line))
      if (message.ok) seqs.push(message.value.seq)
    }
  }
  return seqs
}

describe('an archive', () => {
  test('is numbered segments of mode 0444 that hold the ledger in order', async () => {
    const end = await append(12)
    expect(end.seq).toBe(12)
    const names = (await readdir(dir)).sort()
    expect(names.length).toBeGreaterThan(2)
    expect(names[0]).toBe('00000001.jsonl')
    expect(names.length).toBe(end.number)
    for (const name of names) expect((await stat(join(dir, name))).mode & 0o777).toBe(0o444)
    expect(await readAll()).toEqual(messages.map(({ seq }) => seq))
  })

  test('goes on after the last whole segment and never writes one again', async () => {
    await append(5)
    const before = await Promise.all((await readdir(dir)).sort().map((name) => readFile(join(dir, name))))
    // What a killed run leaves behind.
    await writeFile(join(dir, `${String(before.length + 1).padStart(8, '0')}.jsonl.partial`), 'half a li')
    await append(12)
    const names = (await readdir(dir)).sort()
    expect(names.some((name) => name.endsWith('.partial'))).toBe(false)
    for (const [index, bytes] of before.entries()) expect(await readFile(join(dir, names[index] ?? ''))).toEqual(bytes)
    expect(await readAll()).toEqual(messages.map(({ seq }) => seq))
    expect((await append(12)).number).toBe(names.length)
  })

  test('is not written over: a segment that appears meanwhile is a fault', async () => {
    const begin = await findEnd(dir)
    if (!begin.ok) throw new Error(begin.error.message)
    await writeFile(join(dir, '00000001.jsonl'), 'somebody else was faster')
    const writing = { dir, begin: begin.value, last: 12 }
    await expect(appendToArchive(from(messages), writing)).rejects.toThrow(/EEXIST/)
    expect(await readFile(join(dir, '00000001.jsonl'), 'utf8')).toBe('somebody else was faster')
  })

  test('is not gone on with when its last segment is no export', async () => {
    await findEnd(dir)
    await writeFile(join(dir, '00000001.jsonl'), 'garbage\n')
    expect(await findEnd(dir)).toMatchObject({ ok: false, error: { exit: 3 } })
  })

  test('is verified as a whole, by both verifiers, and misses no segment that is gone', async () => {
    const { number } = await append(12)
    const both = async () => {
      const files = await openLedgerFiles(dir, { pin, anchors: [], witnessKeys: [] }, { stdin: nothing() })
      if (!files.ok) throw new Error(files.error.message)
      const verifier = createVerifier({ pin, anchors: files.value.anchors })
      for (const { open } of files.value.files) await addExport(verifier, open(), createReaders(0))
      const script = join(import.meta.dirname, '../../../examples/verify_ledger.py')
      const python = spawnSync(PYTHON, ['-B', script, dir, '--root-key', formatVkey(pin)], { encoding: 'utf8' })
      return [verifier.finish().lines.at(-1)?.split(':')[0], python.stdout.trimEnd().split('\n').at(-1)?.split(':')[0]]
    }
    await writeFile(join(dir, 'notes.jsonl'), 'not a segment')
    expect(await both()).toEqual(['unanchored tail 1..12', 'unanchored tail 1..12'])
    await rm(join(dir, toSegmentName(2)))
    const [ours, theirs] = await both()
    expect(ours).toMatch(/^FAIL at \d+$/)
    expect(theirs).toBe(ours)
    expect(number).toBeGreaterThan(2)
  })

  test('keeps a checkpoint beside the segment that ends at its size', async () => {
    const begin = { seq: 0, number: 0 }
    await findEnd(dir)
    const note = Buffer.from('a note')
    await appendToArchive(from(messages), { dir, begin, last: 12, note })
    expect((await readdir(dir)).sort()).toEqual(['00000001.checkpoint', '00000001.jsonl'])
    expect(await readFile(join(dir, '00000001.checkpoint'))).toEqual(note)
  })
})
