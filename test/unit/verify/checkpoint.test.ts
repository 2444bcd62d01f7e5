import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { beforeAll, describe, expect, test } from 'vitest'
import type { Pin } from '../../../src/core/chainState.ts'
import { toCheckpointText } from '../../../src/core/checkpoint.ts'
import { parseVerifyKey } from '../../../src/core/ed25519.ts'
import { formatNote, type NoteKey, parseNoteKey, toNoteSignature } from '../../../src/core/signedNote.ts'
import { type NamedAnchor, parseCheckpointAnchor } from '../../../src/verify/anchors.ts'
import { type ExportedMessage, formatExportLine } from '../../../src/verify/exportLine.ts'
import { createReaders } from '../../../src/verify/readers.ts'
import { createVerifier } from '../../../src/verify/verifier.ts'
import { verifyMessages } from '../../../src/verify/verifyExport.ts'
import { parseVkey } from '../../../src/verify/vkey.ts'
import { createSigner, ORIGIN } from '../../fixtures/ledgerHistory.ts'
import { judgeHere, judgeInPython } from '../../fixtures/pythonVerifier.ts'

const FOLDER = join(import.meta.dirname, '../../vectors')
const readJson = async (path: string) => JSON.parse(await readFile(join(FOLDER, path), 'utf8'))

let pin: Pin
let messages: readonly ExportedMessage[]
let notes: readonly { readonly size: number; readonly note: string }[]
let roots: readonly { readonly size: number; readonly root: string }[]
let witness: NoteKey
beforeAll(async () => {
  const parsed = parseVkey((await readJson('keys.json')).vkey)
  const checkpoints = await readJson('checkpoints.json')
  const key = parseNoteKey(checkpoints.witness_vkey)
  if (!parsed.ok || !key.ok) throw new Error('the vectors have unusable keys')
  pin = parsed.value
  witness = key.value
  notes = checkpoints.checkpoints
  roots = checkpoints.roots
  const commits: readonly { readonly seq: number; readonly subject: string; readonly message: string }[] =
    await readJson('commits.json')
  messages = commits.map(({ seq, subject, message }) => ({
    ...{ stream: 'KMS_LEDGER', seq, subject, payload: Buffer.from(message, 'hex') },
  }))
})

const toAnchor = (
  note: string,
  more: { readonly witnessKeys?: readonly NoteKey[]; readonly isOfArchive?: boolean } = {},
) => {
  const { witnessKeys = [], isOfArchive = false } = more
  const anchor = parseCheckpointAnchor(Buffer.from(note), {
    name: 'checkpoint',
    origin: ORIGIN,
    witnessKeys,
    isOfArchive,
  })
  if (!anchor.ok) throw new Error(anchor.error)
  return anchor.value
}
const sign = (size: number, rootHex: string, signer: string): string => {
  const { publicKey, sign: by } = createSigner(signer)
  const key = parseVerifyKey(publicKey)
  if (!key.ok) throw new Error(key.error)
  const text = toCheckpointText({ origin: ORIGIN, size, root: Buffer.from(rootHex, 'hex') })
  const signature = toNoteSignature({ name: ORIGIN, type: 'ed25519', key: key.value }, by(Buffer.from(text)))
  return formatNote({ text, signatures: [signature] })
}
const noteAt = (size: number): string => notes.find((note) => note.size === size)?.note ?? ''
const rootAt = (size: number): string => roots.find((one) => one.size === size)?.root ?? ''
const verify = (anchors: readonly NamedAnchor[], fast = false) => {
  const verifier = createVerifier({ pin, anchors, fast })
  for (const message of messages) verifier.add(message)
  return verifier.finish()
}

describe('a checkpoint', () => {
  test('of the last size anchors the whole ledger, over a gap and a rotated root', async () => {
    for (const fast of [false, true])
      expect(verify([toAnchor(noteAt(13))], fast)).toMatchObject({
        verdict: 0,
        anchoredTo: 13,
        anchoredBy: 'checkpoint',
      })
    const verifier = createVerifier({ pin, anchors: [toAnchor(noteAt(13))] })
    async function* stream() {
      yield* messages
    }
    const threads = createReaders(1, 0)
    expect(await verifyMessages(verifier, stream(), 13, threads)).toMatchObject({ verdict: 0 })
    await threads.close()
  })

  test('of an earlier size leaves a tail', () => {
    expect(verify([toAnchor(noteAt(6))]).lines.at(-1)).toBe('unanchored tail 7..13')
  })

  test('of each size agrees with the published root there, by the root key in force there, and by no other', async () => {
    const cases = roots
      .filter(({ size }) => size > 0)
      .flatMap(({ size, root }) =>
        ['root', 'root 2', 'attacker'].map((signer) => ({
          ...{ size, signer, pin, anchors: [toAnchor(sign(size, root, signer))] },
          lines: messages.map((message) => `${formatExportLine(message)}\n`).join(''),
        })),
      )
    const theirs = await judgeInPython(cases)
    const agreeing = new Map<number, string[]>()
    for (const [index, one] of cases.entries()) {
      const ours = await judgeHere(one)
      expect({ ...one, report: theirs[index] }).toEqual({ ...one, report: ours })
      if (ours.exit !== 2) agreeing.set(one.size, [...(agreeing.get(one.size) ?? []), one.signer])
    }
    expect([...agreeing.values()].map((signers) => signers.length)).toEqual(Array.from({ length: 13 }, () => 1))
    expect([agreeing.get(1), agreeing.get(13)]).toEqual([['root'], ['root 2']])
  }, 60_000)

  test.each([
    ['another root', () => sign(6, rootAt(7), 'root'), 'FAIL at 6: not what the anchor remembers'],
    ['a size beyond the end', () => sign(14, rootAt(13), 'root 2'), 'FAIL at 14: shorter than anchor'],
  ])('with %s is FAIL, for both verifiers', async (_name, toNote, verdict) => {
    const anchors = [toAnchor(toNote())]
    expect(verify(anchors).lines.at(-1)).toMatch(new RegExp(`^${verdict}`))
    const lines = messages.map((message) => `${formatExportLine(message)}\n`).join('')
    const [theirs] = await judgeInPython([{ pin, anchors, lines }])
    expect(theirs).toEqual(await judgeHere({ pin, anchors, lines }))
  })

  test('vouches only with every witness that was named, whose signature must verify', () => {
    const other: NoteKey = { ...witness, name: 'witness.example/w2' }
    expect(verify([toAnchor(noteAt(13), { witnessKeys: [witness] })])).toMatchObject({ verdict: 0 })
    expect(verify([toAnchor(noteAt(13), { witnessKeys: [witness, other] })])).toMatchObject({
      verdict: 1,
      anchoredTo: 0,
    })
    const [, line] = noteAt(13).trimEnd().split('\n').slice(-2)
    const broken = noteAt(13).replace(line ?? '', `${(line ?? '').slice(0, -6)}AAAAA=`)
    expect(verify([toAnchor(broken)])).toMatchObject({ verdict: 0 })
    expect(verify([toAnchor(broken, { witnessKeys: [witness] })])).toMatchObject({ verdict: 2 })
  })

  test('of a segment is compared and vouches for no end', () => {
    expect(verify([toAnchor(noteAt(13), { isOfArchive: true })])).toMatchObject({ verdict: 1, anchoredTo: 0 })
    expect(verify([toAnchor(sign(13, rootAt(12), 'root 2'), { isOfArchive: true })])).toMatchObject({ verdict: 2 })
  })

  test('of another ledger, of size 0, or that is no note is refused', () => {
    const from = { name: 'checkpoint', witnessKeys: [], isOfArchive: false }
    const zero = Buffer.from(sign(0, rootAt(0), 'root'))
    for (const [bytes, origin] of [
      [Buffer.from(noteAt(6)), 'other/0123456789abcdef'],
      [zero, ORIGIN],
      [Buffer.from('no note'), ORIGIN],
    ] as const)
      expect(parseCheckpointAnchor(bytes, { ...from, origin }).ok).toBe(false)
  })
})
