import { execFileSync, spawnSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { request } from 'node:https'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { createAdmission } from '../../../src/transport/admission.ts'
import type { HttpServer } from '../../../src/transport/httpServer.ts'
import { createRestGateway } from '../../../src/transport/rest.ts'
import { createScriptedDispatch } from '../../fixtures/scriptedDispatch.ts'
import { createTelemetryLog } from '../../fixtures/telemetryLog.ts'

const hasOpenssl = spawnSync('openssl', ['version']).status === 0

/** Certificates made for this run: a CA, a server, a client of that CA, and a client of another CA. */
const createCertificates = (dir: string) => {
  const openssl = (...args: readonly string[]) => execFileSync('openssl', args, { cwd: dir, stdio: 'pipe' })
  const createCa = (name: string) =>
    openssl(
      ...['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-days', '2'],
      ...['-subj', `/CN=${name}`, '-keyout', `${name}.key`, '-out', `${name}.pem`],
    )
  const sign = (name: string, ca: string, san: string) => {
    writeFileSync(join(dir, `${name}.ext`), `subjectAltName=${san}\n`)
    openssl(
      ...['req', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes'],
      ...['-subj', `/CN=${name}`, '-keyout', `${name}.key`, '-out', `${name}.csr`],
    )
    openssl(
      ...['x509', '-req', '-in', `${name}.csr`, '-CA', `${ca}.pem`, '-CAkey', `${ca}.key`, '-CAcreateserial'],
      ...['-days', '2', '-extfile', `${name}.ext`, '-out', `${name}.pem`],
    )
  }
  createCa('ca')
  createCa('foreign-ca')
  sign('server', 'ca', 'IP:127.0.0.1')
  sign('client', 'ca', 'URI:spiffe://example/orders')
  sign('stranger', 'foreign-ca', 'URI:spiffe://example/orders')
  sign('ambiguous', 'ca', 'URI:spiffe://example/a,URI:spiffe://example/b')
  const read = (name: string) => ({
    cert: readFileSync(join(dir, `${name}.pem`)),
    key: readFileSync(join(dir, `${name}.key`)),
  })
  return { ca: readFileSync(join(dir, 'ca.pem')), read }
}

describe.skipIf(!hasOpenssl)('TLS', () => {
  const dir = mkdtempSync(join(tmpdir(), 'kms-tls-'))
  const scripted = createScriptedDispatch()
  let certificates: ReturnType<typeof createCertificates>
  let server: HttpServer
  let port: number

  beforeAll(async () => {
    certificates = createCertificates(dir)
    server = createRestGateway({
      dispatch: scripted.dispatch,
      telemetry: createTelemetryLog(),
      admission: createAdmission(),
      tls: { ...certificates.read('server'), clientCa: certificates.ca },
    })
    port = await server.listen({ host: '127.0.0.1', port: 0 })
  })
  afterAll(async () => {
    await server?.close(1_000)
    rmSync(dir, { recursive: true, force: true })
  })

  const ask = (client?: string) =>
    new Promise<{ status: number | undefined; hsts: unknown }>((resolve, reject) => {
      const asked = request(
        {
          ...{ host: '127.0.0.1', port, path: '/v1/ledger/head', ca: certificates.ca, agent: false },
          ...(client === undefined ? {} : certificates.read(client)),
        },
        (answer) => {
          answer.resume()
          answer.on('end', () =>
            resolve({ status: answer.statusCode, hsts: answer.headers['strict-transport-security'] }),
          )
        },
      )
      asked.on('error', reject)
      asked.end()
    })

  test('a certificate of the CA reaches the authenticator with its SPIFFE ID', async () => {
    expect(await ask('client')).toEqual({ status: 200, hsts: 'max-age=63072000' })
    expect(scripted.seen.at(-1)?.incoming.credentials.certificate).toEqual({
      spiffeId: 'spiffe://example/orders',
      commonName: 'client',
    })
  })

  test('a certificate with two URIs has no SPIFFE ID', async () => {
    await ask('ambiguous')
    expect(scripted.seen.at(-1)?.incoming.credentials.certificate).toEqual({ commonName: 'ambiguous' })
  })

  test.each(['stranger', undefined])('from %s there is no certificate to go by', async (client) => {
    await ask(client)
    expect(scripted.seen.at(-1)?.incoming.credentials).toEqual({})
  })
})
