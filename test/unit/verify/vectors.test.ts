import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { parseVerifyKey } from '../../../src/core/ed25519.ts'
import { decodeStrictMsgpack } from '../../../src/core/strictMsgpack.ts'
import { parseAnchorFlag } from '../../../src/verify/anchors.ts'
import { createVerifier } from '../../../src/verify/verifier.ts'
import { verifyExport } from '../../../src/verify/verifyExport.ts'
import { parseVkey } from '../../../src/verify/vkey.ts'
import { toVectors } from '../../vectors/vectors.ts'

const FOLDER = join(import.meta.dirname, '../../vectors')
const read = (path: string): Promise<string> => readFile(join(FOLDER, path), 'utf8')
const readJson = async (path: string) => JSON.parse(await read(path))

async function* once(text: string): AsyncGenerator<Uint8Array> {
  yield Buffer.from(text)
}

describe('the committed vectors', () => {
  test.each([...toVectors()])('%s is what the code makes (or run npm run vectors)', async (path, text) => {
    expect(await read(path)).toBe(text)
  })

  test('the exports have the verdicts that their index says, with the committed vkey', async () => {
    const pin = parseVkey((await readJson('keys.json')).vkey)
    if (!pin.ok) throw new Error(pin.error)
    const index: readonly {
      readonly file: string
      readonly anchors: readonly { readonly size: number; readonly hash: string }[]
      readonly exit: number
      readonly verdict: string
    }[] = await readJson('exports/index.json')
    expect(index.length).toBeGreaterThan(10)
    for (const { file, anchors: given, exit, verdict } of index)
      for (const fast of [false, true]) {
        const anchors = given.map(({ size, hash }) => {
          const anchor = parseAnchorFlag(`${size}:${hash}`)
          if (!anchor.ok) throw new Error(anchor.error)
          return anchor.value
        })
        const report = await verifyExport(
          createVerifier({ pin: pin.value, anchors, fast }),
          once(await read(join('exports', file))),
        )
        const line = report.lines.at(-1) ?? ''
        expect({ file, exit: report.verdict, verdict: exit === 2 ? line.slice(0, line.indexOf(':')) : line }).toEqual({
          ...{ file, exit, verdict },
        })
      }
  })

  test('the bytes and keys that must be refused are refused', async () => {
    for (const { bytes } of (await readJson('msgpack.json')).refused_anywhere)
      expect(
        decodeStrictMsgpack(Buffer.from(bytes, 'hex'), { depthMax: 8, allowFloats: true, allowNil: true }).ok,
      ).toBe(false)
    for (const { public_key: key } of (await readJson('keys.json')).refused_public_keys)
      expect(parseVerifyKey(Buffer.from(key, 'hex')).ok).toBe(false)
  })
})
