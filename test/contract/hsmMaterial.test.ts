import { createHsm, type HsmOptions } from '../../src/hsm/createHsm.ts'
import { createFakeHsm } from '../fixtures/fakeHsm.ts'
import { BACKEND, ORIGIN } from '../fixtures/hsmRequests.ts'
import { createSoftHsm } from '../fixtures/softhsm.ts'
import { createTelemetryLog } from '../fixtures/telemetryLog.ts'
import type { HsmUnderTest } from './hsm.suite.ts'
import { describeMaterial } from './hsmMaterial.suite.ts'

// SoftHSM reads its configuration once a process, so both placements share one directory and have a token each.
const shared = createSoftHsm({ tokenLabels: ['inline', 'process'] })

const openReal = async (options: Pick<HsmOptions, 'placement' | 'processesPerBackend'>): Promise<HsmUnderTest> => {
  const { libPath, pinFile } = await shared
  const backends = [{ id: BACKEND, libPath, tokenLabel: options.placement ?? 'process', pinFile }]
  const hsm = await createHsm({ origin: ORIGIN, backends, telemetry: createTelemetryLog(), ...options })
  return { hsm, [Symbol.asyncDispose]: () => hsm.close() }
}

describeMaterial('material on SoftHSM inline', () => openReal({ placement: 'inline' }))

describeMaterial('material on SoftHSM in two child processes', () =>
  openReal({ placement: 'process', processesPerBackend: 2 }),
)

describeMaterial('material on the double', async () => {
  const hsm = createFakeHsm({ origin: ORIGIN, backend: BACKEND })
  return { hsm, [Symbol.asyncDispose]: () => hsm.close() }
})
