import { TLSSocket } from 'node:tls'

/** Who a verified client certificate names. */
export interface CertificateSubject {
  readonly spiffeId?: string
  readonly commonName?: string
}

/**
 * The subject of the client certificate of a connection, if TLS verified it against the listener's CA. A SPIFFE ID is
 * taken only when it is the one URI among the subject alternative names (X.509-SVID, section 2); a quoted list, which
 * Node writes when a name holds a comma or quote, is not taken apart.
 */
export const readClientCertificate = (socket: unknown): CertificateSubject | undefined => {
  if (!(socket instanceof TLSSocket) || !socket.authorized) return undefined
  const certificate = socket.getPeerCertificate()
  const names = certificate.subjectaltname ?? ''
  const uris = names.includes('"') ? [] : names.split(', ').filter((name) => name.startsWith('URI:'))
  const uri = uris.length === 1 ? uris[0]?.slice('URI:'.length) : undefined
  const commonName: unknown = certificate.subject?.CN
  return {
    ...(uri?.startsWith('spiffe://') ? { spiffeId: uri } : {}),
    ...(typeof commonName === 'string' ? { commonName } : {}),
  }
}
