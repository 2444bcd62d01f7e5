import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { parseVerifyKey } from '../../../src/core/ed25519.ts'
import {
  formatNote,
  formatNoteKey,
  formatSignatures,
  type NoteKey,
  parseNote,
  parseNoteKey,
  parseSignatures,
  toCosignature,
  toCosignedBytes,
  toNoteSignature,
  verifyNote,
} from '../../../src/core/signedNote.ts'
import { unwrap } from '../../fixtures/ledgerEntries.ts'
import { createSigner } from '../../fixtures/ledgerHistory.ts'
import { signerOfNoteKey } from '../../fixtures/noteSigner.ts'

/** The key and the note of the reference implementation (golang.org/x/mod/sumdb/note). */
const VKEY = 'PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW'
const SKEY = 'PRIVATE+KEY+PeterNeumann+c74f20a3+AYEKFALVFGyNhPJEMzD1QIDr+Y7hfZx09iUvxdXHKDFz'
const TEXT = "If you think cryptography is the answer to your problem,\nthen you don't know what your problem is.\n"
const SIGNATURE =
  '— PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n'
const NOTE = `${TEXT}\n${SIGNATURE}`
const peter = unwrap(parseNoteKey(VKEY))

const toWitness = (name: string): { key: NoteKey; sign(bytes: Uint8Array): Uint8Array } => {
  const signer = createSigner(name)
  return {
    key: { name: `witness.example/${name}`, type: 'cosignature', key: unwrap(parseVerifyKey(signer.publicKey)) },
    sign: signer.sign,
  }
}

describe('a signed note', () => {
  test('the reference note verifies with the reference key', () => {
    const note = unwrap(parseNote(Buffer.from(NOTE)))
    expect(note.text).toBe(TEXT)
    expect(unwrap(verifyNote(note, [peter])).map(({ key }) => key.name)).toEqual(['PeterNeumann'])
    expect(formatNote(note)).toBe(NOTE)
  })

  test('signing with the reference private key makes the reference note', () => {
    const { key, sign } = signerOfNoteKey(SKEY)
    expect(formatNoteKey(key)).toBe(VKEY)
    expect(formatNote({ text: TEXT, signatures: [toNoteSignature(key, sign(Buffer.from(TEXT)))] })).toBe(NOTE)
  })

  test.each([
    ['no empty line', TEXT],
    ['no signature', `${TEXT}\n`],
    ['no line end after the signature', NOTE.slice(0, -1)],
    ['a control character', `\u0001${NOTE}`],
    ['a carriage return', NOTE.replace('\n', '\r\n')],
    ['a space in the key name', `${TEXT}\n${SIGNATURE.replace('PeterNeumann', 'Bad Name')}`],
    ['a no-break space in the key name', `${TEXT}\n${SIGNATURE.replace('PeterNeumann', 'Bad\u00a0Name')}`],
    ['a plus in the key name', `${TEXT}\n${SIGNATURE.replace('PeterNeumann', 'Bad+Name')}`],
    ['a line that is no signature', `${NOTE}Unexpected line.\n`],
    ['a hyphen for the dash', `${TEXT}\n${SIGNATURE.replace('—', '-')}`],
    ['base64 with bits left over', `${TEXT}\n${SIGNATURE.replace('JnAM=', 'JnAN=')}`],
    ['base64 without padding', `${TEXT}\n${SIGNATURE.replace('=', '')}`],
    ['a signature of no bytes', `${TEXT}\n— PeterNeumann x08gow==\n`],
    ['101 signatures', `${TEXT}\n${SIGNATURE.repeat(101)}`],
  ])('%s is refused', (_why, text) => {
    expect(parseNote(Buffer.from(text)).ok).toBe(false)
  })

  test('bytes that are not UTF-8 are refused, a byte order mark is a character', () => {
    expect(parseNote(Buffer.concat([Buffer.of(0xff), Buffer.from(NOTE)])).ok).toBe(false)
    expect(unwrap(parseNote(Buffer.from(`\ufeff${NOTE}`))).text).toBe(`\ufeff${TEXT}`)
  })

  test('the text ends at the last empty line, and 100 signatures are read', () => {
    expect(unwrap(parseNote(Buffer.from(`one\n\n\ntwo\n\n${SIGNATURE}`))).text).toBe('one\n\n\ntwo\n')
    const note = unwrap(parseNote(Buffer.from(`${TEXT}\n${SIGNATURE.repeat(100)}`)))
    expect(unwrap(verifyNote(note, [peter]))).toHaveLength(1)
  })

  test('a signature by an unknown key is ignored, also under a known name or id; without a known one the note is refused', () => {
    const other = toWitness('other').key
    const namesake: NoteKey = { ...other, name: 'PeterNeumann' }
    const note = unwrap(parseNote(Buffer.from(NOTE)))
    expect(verifyNote(note, [other]).ok).toBe(false)
    expect(verifyNote(note, [namesake]).ok).toBe(false)
    const twice = unwrap(parseNote(Buffer.from(`${NOTE}— PeterNeumann AAAAAGRh\n— unknown x08gowAA\n`)))
    expect(unwrap(verifyNote(twice, [peter, other]))).toHaveLength(1)
  })

  test('a signature by a known key that does not verify spoils the note', () => {
    const bad = SIGNATURE.replace('RyyBwJnAM=', 'RyyBwJnBM=')
    for (const lines of [bad, SIGNATURE + bad, bad + SIGNATURE])
      expect(verifyNote(unwrap(parseNote(Buffer.from(`${TEXT}\n${lines}`))), [peter]).ok).toBe(false)
  })

  test('any changed byte of a note is refused', () => {
    const bytes = Buffer.from(NOTE)
    fc.assert(
      fc.property(fc.nat({ max: bytes.length - 1 }), fc.integer({ min: 1, max: 255 }), (at, change) => {
        const changed = Buffer.from(bytes)
        changed[at] = (changed[at] ?? 0) ^ change
        const note = parseNote(changed)
        return !note.ok || !verifyNote(note.value, [peter]).ok
      }),
      { numRuns: 1000 },
    )
  })

  test('format and parse are inverse', () => {
    const name = fc.stringMatching(/^[a-zäß./0-9-]{1,20}$/u)
    const signature = fc.record({
      name,
      keyId: fc.stringMatching(/^[0-9a-f]{8}$/),
      signature: fc.uint8Array({ minLength: 1, maxLength: 80 }),
    })
    const text = fc
      .array(fc.stringMatching(/^[ -~äß]{0,20}$/u), { minLength: 1 })
      .map((lines) => `${lines.join('\n')}\n`)
    fc.assert(
      fc.property(text, fc.array(signature, { minLength: 1, maxLength: 5 }), (body, signatures) => {
        const note = { text: body, signatures }
        expect(unwrap(parseNote(Buffer.from(formatNote(note))))).toEqual(note)
        expect(unwrap(parseSignatures(Buffer.from(formatSignatures(signatures))))).toEqual(signatures)
      }),
    )
  })
})

describe('a verifier key', () => {
  test.each([
    ['a key that is too long', 'PeterNeumann+cc469956+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TWBADKEY=='],
    ['an unknown algorithm', 'PeterNeumann+173116ae+ZRpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW'],
    ['another key id', VKEY.replace('c74f20a3', 'c74f20a4')],
    ['a key id in capitals', VKEY.replace('c74f20a3', 'C74F20A3')],
    ['an empty name', VKEY.replace('PeterNeumann', '')],
    ['a space in the name', VKEY.replace('PeterNeumann', 'Peter Neumann')],
  ])('with %s is refused', (_why, text) => {
    expect(parseNoteKey(text).ok).toBe(false)
  })

  test('no part and no neighbour of the reference key is a key', () => {
    for (let from = 0; from < VKEY.length; from++)
      for (let to = from + 1; to <= VKEY.length; to++)
        if (to - from < VKEY.length) expect(parseNoteKey(VKEY.slice(from, to)).ok).toBe(false)
    for (let at = 0; at < VKEY.length; at++) {
      const next = String.fromCharCode(VKEY.charCodeAt(at) + 1)
      expect(parseNoteKey(VKEY.slice(0, at) + next + VKEY.slice(at + 1)).ok).toBe(false)
    }
  })

  test('a witness key has another id than the note key with the same name and bytes', () => {
    const { key } = toWitness('w1')
    const text = formatNoteKey(key)
    expect(unwrap(parseNoteKey(text))).toMatchObject({ name: key.name, type: 'cosignature' })
    expect(text.split('+')[1]).not.toBe(formatNoteKey({ ...key, type: 'ed25519' }).split('+')[1])
  })
})

describe('a cosignature', () => {
  const text = 'example.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n'

  test('signs the lines of the specification’s example', () => {
    expect(Buffer.from(toCosignedBytes(text, 1679315147)).toString()).toBe(`cosignature/v1\ntime 1679315147\n${text}`)
  })

  test('the line of the specification’s example holds its time', () => {
    const line =
      '— witness.example.com/w1 jWbPPwAAAABkGFDLEZMHwSRaJNiIDoe9DYn/zXcrtPHeolMI5OWXEhZCB9dlrDJsX3b2oyin1nPZqhf5nNo0xUe+mbIUBkBIfZ+qnA==\n'
    const [signature] = unwrap(parseSignatures(Buffer.from(line)))
    expect(signature).toMatchObject({ name: 'witness.example.com/w1', keyId: '8d66cf3f' })
    expect(Buffer.from(signature?.signature ?? []).readBigUInt64BE()).toBe(1679315147n)
    expect(formatSignatures(signature === undefined ? [] : [signature])).toBe(line)
  })

  test('verifies with its time, and with no other time, text or witness', () => {
    const witness = toWitness('w1')
    const line = toCosignature(witness.key, 1679315147, witness.sign(toCosignedBytes(text, 1679315147)))
    const note = { text, signatures: [line] }
    expect(unwrap(verifyNote(note, [witness.key]))).toMatchObject([{ timeSeconds: 1679315147 }])
    const later = new Uint8Array(line.signature)
    later[7] = (later[7] ?? 0) ^ 1
    expect(verifyNote({ ...note, signatures: [{ ...line, signature: later }] }, [witness.key]).ok).toBe(false)
    expect(verifyNote({ ...note, text: text.replace('63', '64') }, [witness.key]).ok).toBe(false)
    expect(verifyNote(note, [toWitness('w2').key]).ok).toBe(false)
    expect(verifyNote(note, [{ ...witness.key, type: 'ed25519' }]).ok).toBe(false)
  })
})
