import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import pkcs11 from 'pkcs11js'
import type { TokenPlace } from '../../src/core/instruction.ts'
import { createHsm, type HsmOptions } from '../../src/hsm/createHsm.ts'
import { PLANTED_LABEL, toFakePlace } from '../fixtures/fakeBackends.ts'
import { createFakeHsm } from '../fixtures/fakeHsm.ts'
import { BACKEND, ORIGIN } from '../fixtures/hsmRequests.ts'
import { createSoftHsm, type SoftHsm } from '../fixtures/softhsm.ts'
import { createTelemetryLog } from '../fixtures/telemetryLog.ts'
import { describeBackends, type TokensUnderTest } from './hsmBackends.suite.ts'

const PLACEMENTS = ['inline', 'process'] as const
const LABELS = ['main', 'token-a', 'token-b', PLANTED_LABEL]

/** A key of this origin on each token that is to have one and no handle key. */
const plant = ({ libPath, pin }: SoftHsm): void => {
  const lib = new pkcs11.PKCS11()
  lib.load(libPath)
  lib.C_Initialize()
  for (const slot of lib.C_GetSlotList(true)) {
    if (!lib.C_GetTokenInfo(slot).label.includes(PLANTED_LABEL)) continue
    const session = lib.C_OpenSession(slot, pkcs11.CKF_SERIAL_SESSION | pkcs11.CKF_RW_SESSION)
    lib.C_Login(session, pkcs11.CKU_USER, pin)
    lib.C_GenerateKey(session, { mechanism: pkcs11.CKM_AES_KEY_GEN }, [
      { type: pkcs11.CKA_TOKEN, value: true },
      { type: pkcs11.CKA_VALUE_LEN, value: 32 },
      { type: pkcs11.CKA_LABEL, value: `chatelaine/${ORIGIN}/1/lid_${'0'.repeat(64)}/1` },
      { type: pkcs11.CKA_ID, value: Buffer.alloc(16, 1) },
    ])
  }
  lib.C_Finalize()
  lib.close()
}

// SoftHSM reads its configuration once a process, so both placements share one directory and have tokens of their own.
const shared = createSoftHsm({
  tokenLabels: PLACEMENTS.flatMap((placement) => LABELS.map((label) => `${placement}-${label}`)),
}).then(async (softHsm) => {
  const pinDir = join(softHsm.directory, 'pins')
  await mkdir(pinDir)
  await writeFile(join(pinDir, 'shared'), softHsm.pin)
  plant(softHsm)
  return { ...softHsm, pinDir }
})

const openReal = async (
  placement: (typeof PLACEMENTS)[number],
  more: Partial<HsmOptions>,
): Promise<TokensUnderTest> => {
  const { libPath, pinFile, pinDir } = await shared
  const hsm = await createHsm({
    origin: ORIGIN,
    backends: [{ id: BACKEND, libPath, tokenLabel: `${placement}-main`, pinFile }],
    runtime: { allowedLibraries: [libPath], pinDir },
    telemetry: createTelemetryLog(),
    placement,
    ...more,
  })
  const place = (label: string): TokenPlace => ({ libPath, tokenLabel: `${placement}-${label}`, pinRef: 'shared' })
  return { hsm, place, [Symbol.asyncDispose]: () => hsm.close() }
}

describeBackends('several SoftHSM tokens inline', () => openReal('inline', {}))

describeBackends('several SoftHSM tokens, each in two child processes', () =>
  openReal('process', { processesPerBackend: 2 }),
)

describeBackends('several tokens of the double', async () => {
  const hsm = createFakeHsm({ origin: ORIGIN, backend: BACKEND })
  return { hsm, place: toFakePlace, [Symbol.asyncDispose]: () => hsm.close() }
})
