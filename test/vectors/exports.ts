import { decodeCommit } from '../../src/core/commit.ts'
import { type ExportedMessage, formatExportLine } from '../../src/verify/exportLine.ts'
import { createSampleHistory, createSigner, type History, toEncrypted } from '../fixtures/ledgerHistory.ts'

/** One export and what a verifier must say of it. */
interface ExportCase {
  readonly name: string
  readonly what: string
  readonly messages: readonly ExportedMessage[]
  readonly anchors: readonly { readonly size: number; readonly hash: string }[]
  readonly exit: 0 | 1 | 2
  /** The last line of the report, up to the first colon after the sequence. */
  readonly verdict: string
}

/** `exports/<name>.jsonl` for every case, and `exports/index.json`, which says what must come out. */
export const toExports = (): [string, string][] => {
  const cases = toCases()
  const index = cases.map(({ name, what, anchors, exit, verdict }) => ({
    ...{ file: `${name}.jsonl`, what, anchors, exit, verdict },
  }))
  return [
    ['exports/index.json', `${JSON.stringify(index, undefined, 2)}\n`],
    ...cases.map(({ name, messages }): [string, string] => [
      `exports/${name}.jsonl`,
      messages.map((message) => `${formatExportLine(message)}\n`).join(''),
    ]),
  ]
}

const hashAt = (history: History, seq: number): string => {
  const message = history.messages.find((one) => one.seq === seq)
  const decoded = decodeCommit(message?.payload ?? Buffer.alloc(0))
  return decoded.ok ? Buffer.from(decoded.value.hash).toString('hex') : ''
}

const flipped = (payload: Uint8Array, at: number): Uint8Array => {
  const copy = Buffer.from(payload)
  copy[at] = (copy[at] ?? 0) ^ 1
  return copy
}

const toCases = (): readonly ExportCase[] => {
  const good = createSampleHistory(4)
  const { messages } = good
  const head = { size: 7, hash: hashAt(good, 7) }
  const bend = (
    seq: number,
    change: (message: ExportedMessage) => Partial<ExportedMessage>,
  ): readonly ExportedMessage[] =>
    messages.map((message) => (message.seq === seq ? { ...message, ...change(message) } : message))

  const recovered = createSampleHistory(2)
  recovered.appendRaw(Buffer.from('a stranger'))
  recovered.skip()
  recovered.recovered()
  recovered.opened('epoch-3')
  recovered.append([toEncrypted(700)])

  const forged = createSampleHistory(2)
  forged.append([toEncrypted(701)], { signer: createSigner('attacker'), kid: createSigner('epoch-2').kid })

  const rolled = createSampleHistory(2)
  rolled.rolled('KMS_LEDGER_2')
  rolled.append([toEncrypted(702)])

  const other = createSampleHistory(4, 'another root')
  const none: ExportCase['anchors'] = []
  return [
    {
      name: 'good',
      what: 'a healthy ledger, its last commit anchored',
      messages,
      anchors: [head],
      exit: 0,
      verdict: 'ok to 7, anchored by --anchor',
    },
    {
      name: 'unanchored',
      what: 'the same without anchor',
      messages,
      anchors: none,
      exit: 1,
      verdict: 'unanchored tail 1..7',
    },
    {
      name: 'tail',
      what: 'the same, anchored at 4',
      messages,
      anchors: [{ size: 4, hash: hashAt(good, 4) }],
      exit: 1,
      verdict: 'unanchored tail 5..7',
    },
    {
      name: 'cut',
      what: 'its tail is cut off before the anchor',
      messages: messages.slice(0, 5),
      anchors: [head],
      exit: 2,
      verdict: 'FAIL at 6',
    },
    {
      name: 'other-anchor',
      what: 'the anchor remembers another commit',
      messages,
      anchors: [{ size: 7, hash: 'ab'.repeat(32) }],
      exit: 2,
      verdict: 'FAIL at 7',
    },
    {
      name: 'event-byte',
      what: 'the last byte of commit 5, in an event, is flipped',
      messages: bend(5, ({ payload }) => ({ payload: flipped(payload, payload.length - 1) })),
      anchors: [head],
      exit: 2,
      verdict: 'FAIL at 5',
    },
    {
      name: 'head-byte',
      what: 'a byte of the head of commit 4 is flipped',
      messages: bend(4, ({ payload }) => ({ payload: flipped(payload, 30) })),
      anchors: [head],
      exit: 2,
      verdict: 'FAIL at 4',
    },
    {
      name: 'signature',
      what: 'commit 6, the last, is by an attacker under the kid of the epoch',
      messages: forged.messages,
      anchors: none,
      exit: 2,
      verdict: 'FAIL at 6',
    },
    {
      name: 'hole',
      what: 'commit 3 is missing',
      messages: messages.filter(({ seq }) => seq !== 3),
      anchors: [head],
      exit: 2,
      verdict: 'FAIL at 3',
    },
    {
      name: 'swapped',
      what: 'the payloads of 3 and 4 are swapped',
      messages: bend(3, () => ({ payload: messages[3]?.payload ?? Buffer.alloc(0) })).map((message) =>
        message.seq === 4 ? { ...message, payload: messages[2]?.payload ?? Buffer.alloc(0) } : message,
      ),
      anchors: [head],
      exit: 2,
      verdict: 'FAIL at 3',
    },
    {
      name: 'subject',
      what: 'commit 3 stands on the other subject',
      messages: bend(3, () => ({ subject: 'kms.ledger.usage' })),
      anchors: [head],
      exit: 2,
      verdict: 'FAIL at 3',
    },
    {
      name: 'twice',
      what: 'commit 4 stands twice',
      messages: messages.toSpliced(4, 0, ...messages.slice(3, 4)),
      anchors: [head],
      exit: 2,
      verdict: 'FAIL at 4',
    },
    {
      name: 'other-root',
      what: 'a ledger of the same origin by another root',
      messages: other.messages,
      anchors: none,
      exit: 2,
      verdict: 'FAIL at 1',
    },
    {
      name: 'recovered',
      what: 'sequences 6 and 7 are recovered over: "recovered 6..7" stands before the verdict',
      messages: recovered.messages,
      anchors: [{ size: 10, hash: hashAt(recovered, 10) }],
      exit: 0,
      verdict: 'ok to 10, anchored by --anchor',
    },
    {
      name: 'rolled',
      what: 'the ledger goes on in a second stream',
      messages: rolled.messages,
      anchors: none,
      exit: 1,
      verdict: 'unanchored tail 1..7',
    },
    { name: 'empty', what: 'no line at all', messages: [], anchors: none, exit: 2, verdict: 'FAIL at 1' },
  ]
}
