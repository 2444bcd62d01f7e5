import { Unpackr } from 'msgpackr'
import { describe, expect, it } from 'vitest'
import { KEY_SPECS } from '../../../schemas/keys.ts'
import { parseMaterialLabel, toContextKeyAad, toHandleAad, toMaterialLabel } from '../../../src/hsm/material.ts'
import { findSupportedSpecs, MECHANISMS, type MechanismOffer } from '../../../src/hsm/mechanisms.ts'

const ORIGIN = 'acme/0123456789abcdef'
const LID = `lid_${'ab'.repeat(32)}`

describe('labels and bindings of material', () => {
  it('parses the label it formats', () => {
    const parts = { epoch: 12, lid: LID, version: 3 }
    expect(toMaterialLabel(ORIGIN, parts)).toBe(`chatelaine/${ORIGIN}/12/${LID}/3`)
    expect(parseMaterialLabel(ORIGIN, toMaterialLabel(ORIGIN, parts))).toEqual(parts)
  })

  it.each([
    ['of another origin', `chatelaine/other/0123456789abcdef/1/${LID}/1`],
    ['of a longer origin', `chatelaine/${ORIGIN}0/1/${LID}/1`],
    ['of the handle key', `chatelaine/${ORIGIN}/handle-key`],
    ['with more behind it', `chatelaine/${ORIGIN}/1/${LID}/1/x`],
    ['with version zero', `chatelaine/${ORIGIN}/1/${LID}/0`],
    ['with a leading zero', `chatelaine/${ORIGIN}/01/${LID}/1`],
    ['without a LID', `chatelaine/${ORIGIN}/1//1`],
    ['that is empty', ''],
  ])('does not parse a label %s', (_, label) => {
    expect(parseMaterialLabel(ORIGIN, label)).toBeUndefined()
  })

  it('binds handles and the context key by the MessagePack arrays of the ledger format', () => {
    const unpackr = new Unpackr({ useRecords: false })
    expect(unpackr.unpack(toHandleAad(ORIGIN, 'main', LID, 7))).toEqual([
      'chatelaine/handle/v1',
      ORIGIN,
      'main',
      LID,
      7,
    ])
    expect(unpackr.unpack(toContextKeyAad(ORIGIN, 'main'))).toEqual(['chatelaine/context-key/v1', ORIGIN, 'main'])
    expect(toHandleAad('o', 'b', 'l', 1).toString('hex')).toBe(
      `95b4${Buffer.from('chatelaine/handle/v1').toString('hex')}a16fa162a16c01`,
    )
  })
})

describe('the mechanism table', () => {
  const all: readonly MechanismOffer[] = [...new Set(MECHANISMS.map((row) => row.mechanism))].map((mechanism) => ({
    mechanism,
    flags: 0xffffffff,
    minKeySize: 0,
    maxKeySize: 0,
  }))

  it('supports every spec of the contract on a token that offers everything', () => {
    expect([...findSupportedSpecs(all)].sort()).toEqual([...KEY_SPECS].sort())
  })

  it.each(MECHANISMS)('drops $spec when the token lacks what it takes to $use $algorithm', ({ spec, mechanism }) => {
    expect(findSupportedSpecs(all.filter((offer) => offer.mechanism !== mechanism))).not.toContain(spec)
  })

  it('drops a spec whose mechanism is there without the flag, or not for its size', () => {
    const withoutFlags = all.map((offer) => ({ ...offer, flags: 0 }))
    expect(findSupportedSpecs(withoutFlags)).toEqual([])
    const small = all.map((offer) => ({ ...offer, minKeySize: 1, maxKeySize: 2048 }))
    expect(findSupportedSpecs(small)).toContain('RSA_2048')
    expect(findSupportedSpecs(small)).not.toContain('RSA_3072')
  })
})
