import { createHash } from 'node:crypto'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { LIMITS } from '../../../schemas/limits.ts'
import { formatExportLine, parseExportLine } from '../../../src/verify/exportLine.ts'
import { createVerifier } from '../../../src/verify/verifier.ts'
import { verifyExport } from '../../../src/verify/verifyExport.ts'
import { formatVkey, parseVkey } from '../../../src/verify/vkey.ts'
import { createSampleHistory } from '../../fixtures/ledgerHistory.ts'

const history = createSampleHistory(6)
const text = history.messages.map((message) => `${formatExportLine(message)}\n`).join('')

async function* chunksOf(bytes: string, chunkBytes = 1000): AsyncGenerator<Uint8Array> {
  const all = Buffer.from(bytes)
  for (let at = 0; at < all.length; at += chunkBytes) yield all.subarray(at, at + chunkBytes)
}
const verify = (bytes: string, chunkBytes?: number) =>
  verifyExport(createVerifier({ pin: history.pin, anchors: [] }), chunksOf(bytes, chunkBytes))

describe('an export', () => {
  test('verifies like the stream it is of, however it is cut into chunks', async () => {
    for (const chunkBytes of [1, 7, 4096, text.length])
      expect(await verify(text, chunkBytes)).toMatchObject({ verdict: 1, lastSeq: 9, findings: [] })
    expect(await verify(text.trimEnd())).toMatchObject({ verdict: 1, lastSeq: 9 })
  })

  test('has the exact bytes in message, and in decoded no identity tags, neither values nor names', () => {
    const lines = text.trimEnd().split('\n')
    const [created] = lines.filter((line) => line.includes('KeyCreated'))
    if (created === undefined) throw new Error('the sample has no key')
    const { message, decoded } = JSON.parse(created)
    expect(Buffer.from(message, 'base64').includes('identity-tag-marker')).toBe(true)
    expect(decoded.events[0].data.spec).toBe('AES_256')
    expect(JSON.stringify(decoded)).not.toMatch(/identity/)
  })

  test('is read in its first four members only: what decoded says is nothing', async () => {
    const lied = text.replaceAll('"decoded":{', '"decoded":{"hash":"lies",')
    expect(lied).not.toBe(text)
    expect(await verify(lied)).toMatchObject({ verdict: 1 })
    expect(await verify(text.replaceAll(/"decoded":.*/g, '"decoded":null}'))).toMatchObject({ verdict: 1 })
  })

  test('may be rewritten by another JSON tool', async () => {
    const rewritten = text
      .trimEnd()
      .split('\n')
      .map((line) => {
        const { stream, seq, subject, message } = JSON.parse(line)
        return JSON.stringify({ message, subject, seq, stream }, undefined, 1).replaceAll('\n', ' ')
      })
    expect(await verify(`${rewritten.join('\n')}\n`)).toMatchObject({ verdict: 1, lastSeq: 9 })
  })

  test.each([
    ['a line that is no JSON', (lines: string[]) => lines.with(3, 'garbage')],
    ['a line that is an array', (lines: string[]) => lines.with(3, '[]')],
    [
      'a line without message',
      (lines: string[]) => lines.with(3, '{"stream":"KMS_LEDGER","seq":4,"subject":"kms.ledger.usage"}'),
    ],
    ['a line with seq twice', (lines: string[]) => lines.with(3, `{"seq":4, ${(lines[3] ?? '').slice(1)}`)],
    ['an additional line of nothing but braces', (lines: string[]) => [...lines, '{}']],
    ['a cut last line', (lines: string[]) => lines.with(-1, (lines.at(-1) ?? '').slice(0, 300))],
    [
      'base64 with unused bits',
      (lines: string[]) => lines.with(3, (lines[3] ?? '').replace(/"message":"[^"]*"/, '"message":"AB=="')),
    ],
    [
      'a sequence with a fraction',
      (lines: string[]) => lines.with(3, (lines[3] ?? '').replace('"seq":4', '"seq":4.5')),
    ],
    ['a missing line', (lines: string[]) => lines.toSpliced(3, 1)],
    ['two lines swapped', (lines: string[]) => lines.with(3, lines[4] ?? '').with(4, lines[3] ?? '')],
  ])('with %s is FAIL', async (_name, bend) => {
    const report = await verify(`${bend(text.trimEnd().split('\n')).join('\n')}\n`)
    expect(report.verdict).toBe(2)
  })

  test('with an endless line is FAIL, in bounded memory', async () => {
    async function* endless(): AsyncGenerator<Uint8Array> {
      for (let mebibytes = 0; mebibytes < 1024; mebibytes++) yield Buffer.alloc(1024 * 1024, 0x20)
    }
    const report = await verifyExport(createVerifier({ pin: history.pin, anchors: [] }), endless())
    expect(report.findings[0]?.reason).toBe(`line 1 is longer than ${LIMITS.exportLineBytesMax} bytes`)
  })

  test('line reads back as the message it was made of, decodable or not', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 500 }), fc.integer({ min: 1, max: 2 ** 50 }), (payload, seq) => {
        const message = { stream: 'KMS_LEDGER', seq, subject: 'kms.ledger.state', payload }
        const read = parseExportLine(Buffer.from(formatExportLine(message)))
        expect(read.ok && { ...read.value, payload: new Uint8Array(read.value.payload) }).toEqual(message)
      }),
    )
  })

  test('a read error is thrown, not judged', async () => {
    async function* failing(): AsyncGenerator<Uint8Array> {
      yield Buffer.from(text)
      throw new Error('disk')
    }
    const verifier = createVerifier({ pin: history.pin, anchors: [] })
    await expect(verifyExport(verifier, failing())).rejects.toThrow('disk')
  })
})

describe('a vkey', () => {
  const vkey = formatVkey(history.pin)

  test('is name, key id and typed key, and reads back', () => {
    expect(vkey).toMatch(/^vectors\/0123456789abcdef\+[0-9a-f]{8}\+A[A-Za-z0-9+/]{43}$/)
    expect(parseVkey(`${vkey}\n`)).toEqual({ ok: true, value: history.pin })
  })

  test('has the key id of a known signed-note key', () => {
    // The checksum database's key, a published vkey: name, id and key belong together.
    const known = 'sum.golang.org+033de0ae+Ac4zctda0e5eza+HJyk9SxEdh+s3Ux18htTTAD8OuAn8'
    const [name, id, encoded] = [known.slice(0, 14), known.slice(15, 23), known.slice(24)]
    const pin = { origin: name, rootPublicKey: Buffer.from(encoded, 'base64').subarray(1) }
    expect(formatVkey(pin)).toBe(`${name}+${id}+${encoded}`)
  })

  test.each([
    ['another name', vkey.replace('vectors', 'vektors')],
    ['another key', vkey.replace(/.{3}$/, 'AAA')],
    ['another id', vkey.replace(/\+[0-9a-f]{8}\+/, '+00000000+')],
    ['another type', vkey.replace('+A', '+B')],
    ['no name', vkey.replace(/^[^+]*/, '')],
    ['something after it', `${vkey}\n\n`],
    ['nothing', ''],
  ])('with %s is refused', (_name, bent) => {
    expect(parseVkey(bent).ok).toBe(false)
  })

  test('of a key of small order is refused', () => {
    const { origin } = history.pin
    const typed = Buffer.from('01'.concat('01'.padEnd(64, '0')), 'hex')
    const id = createHash('sha256').update(`${origin}\n`).update(typed).digest('hex').slice(0, 8)
    expect(parseVkey(`${origin}+${id}+${typed.toString('base64')}`)).toEqual({
      ok: false,
      error: 'a public key is of small order',
    })
  })
})
