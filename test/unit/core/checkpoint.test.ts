import { describe, expect, test } from 'vitest'
import { openCheckpoint, parseCheckpointText, toCheckpointText } from '../../../src/core/checkpoint.ts'
import { formatNote, parseNoteKey, toCosignature, toCosignedBytes } from '../../../src/core/signedNote.ts'
import { unwrap } from '../../fixtures/ledgerEntries.ts'
import { signerOfNoteKey } from '../../fixtures/noteSigner.ts'

/** A log, its checkpoints and a witness of the test data of transparency-dev/witness. */
const LOG = unwrap(parseNoteKey('monkeys+db4d9f7e+AULaJMvTtDLHPUcUrjdDad9vDlh/PTfC2VV60JUtCfWT'))
const FIVE =
  'monkeys\n5\n41smjBUiAU70EtKlT6lIOIYtRTYxYXsDB+XHfcvu/BE=\n\n— monkeys 202fftzGl3LVoqjXfwCFZZXs8I+5G22+Ek2K0AOyBuSJ/8/CZawNF+6fNlTKOCd622pbzJNkkJFWuw9DbicZCkEx9AY=\n'
const EIGHT =
  'monkeys\n8\nV8K9aklZ4EPB+RMOk1/8VsJUdFZR77GDtZUQq84vSbo=\n\n— monkeys 202ffoUEboiQYpHzICeaFmoy3RNviHTpAxYrq/eO4QQVQMvu9UebKBMX2MJC76NLthZaKsnKbCA8GxrjePZhvDCH7Ag=\n'
const WITNESS = 'PRIVATE+KEY+witness+f13a86db+AaLa/dfyBhyo/m0Z7WCi98ENVZWtrP8pxgRNrx7tIWiA'
const TRUST = { origin: 'monkeys', ledgerKeys: [LOG] }

describe('a checkpoint', () => {
  test.each([
    [5, FIVE],
    [8, EIGHT],
  ])('the published one of size %i opens with the key of its log, and is made again from its parts', (size, text) => {
    const opened = unwrap(openCheckpoint(Buffer.from(text), TRUST))
    expect(opened.checkpoint).toMatchObject({ origin: 'monkeys', size })
    expect(toCheckpointText(opened.checkpoint)).toBe(opened.note.text)
    expect(formatNote(opened.note)).toBe(text)
    expect(opened.signedBy).toHaveLength(1)
  })

  test('is refused for another ledger, by another key, and with another size', () => {
    expect(openCheckpoint(Buffer.from(FIVE), { ...TRUST, origin: 'bananas' }).ok).toBe(false)
    const other = unwrap(parseNoteKey('bananas+cf639f13+AaPjhFnPCQnid/Ql32KWhmh+uk72FVRfK+2DLmO3BI3M'))
    expect(openCheckpoint(Buffer.from(FIVE), { ...TRUST, ledgerKeys: [other] }).ok).toBe(false)
    expect(openCheckpoint(Buffer.from(FIVE.replace('\n5\n', '\n6\n')), TRUST).ok).toBe(false)
  })

  test('says which witnesses cosigned; one that is missing is no reason to refuse, a broken one is', () => {
    const { key, sign } = signerOfNoteKey(WITNESS)
    const witness = { ...key, type: 'cosignature' as const }
    const trust = { ...TRUST, witnessKeys: [witness] }
    const { note } = unwrap(openCheckpoint(Buffer.from(FIVE), trust))
    expect(unwrap(openCheckpoint(Buffer.from(FIVE), trust)).cosignedBy).toEqual([])
    const cosignature = toCosignature(witness, 1000, sign(toCosignedBytes(note.text, 1000)))
    const cosigned = { text: note.text, signatures: [...note.signatures, cosignature] }
    expect(unwrap(openCheckpoint(Buffer.from(formatNote(cosigned)), trust)).cosignedBy).toMatchObject([
      { key: { name: 'witness' }, timeSeconds: 1000 },
    ])
    const moved = Buffer.from(cosignature.signature).fill(1, 7, 8)
    const broken = { ...cosigned, signatures: [...note.signatures, { ...cosignature, signature: moved }] }
    expect(openCheckpoint(Buffer.from(formatNote(broken)), trust).ok).toBe(false)
    // A cosignature alone does not make a checkpoint of the ledger.
    const alone = { text: note.text, signatures: [cosignature] }
    expect(openCheckpoint(Buffer.from(formatNote(alone)), trust).ok).toBe(false)
  })

  test.each([
    ['a size with a leading zero', 'o\n05\n41smjBUiAU70EtKlT6lIOIYtRTYxYXsDB+XHfcvu/BE=\n'],
    ['a negative size', 'o\n-5\n41smjBUiAU70EtKlT6lIOIYtRTYxYXsDB+XHfcvu/BE=\n'],
    ['a size beyond 2^53', 'o\n9007199254740993\n41smjBUiAU70EtKlT6lIOIYtRTYxYXsDB+XHfcvu/BE=\n'],
    ['a root of 31 bytes', `o\n5\n${Buffer.alloc(31).toString('base64')}\n`],
    ['a root without padding', 'o\n5\n41smjBUiAU70EtKlT6lIOIYtRTYxYXsDB+XHfcvu/BE\n'],
    ['no root', 'o\n5\n'],
    ['no line end', 'o\n5\n41smjBUiAU70EtKlT6lIOIYtRTYxYXsDB+XHfcvu/BE='],
    ['an empty extension line', 'o\n5\n41smjBUiAU70EtKlT6lIOIYtRTYxYXsDB+XHfcvu/BE=\n\nx\n'],
    ['an empty origin', '\n5\n41smjBUiAU70EtKlT6lIOIYtRTYxYXsDB+XHfcvu/BE=\n'],
  ])('a text with %s is refused', (_why, text) => {
    expect(parseCheckpointText(text).ok).toBe(false)
  })

  test('a size of 0 and extension lines are read', () => {
    const root = '47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU='
    expect(unwrap(parseCheckpointText(`o\n0\n${root}\nmore\n`))).toMatchObject({ origin: 'o', size: 0 })
  })
})
