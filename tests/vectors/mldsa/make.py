"""Makes the files of this folder: a small PKI for each parameter set of ML-DSA. Keys and signatures are OpenSSL's.

Needs the package `cryptography`, 48 or later, with OpenSSL 3.5 or later in it. That writes nothing that is signed by
ML-DSA, so each structure is written as if for an Ed25519 key, and algorithm and signature are exchanged. The keys are
not kept.
"""

import datetime
import pathlib

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ed25519, mldsa
from cryptography.x509 import ocsp
from cryptography.x509.oid import NameOID

HERE = pathlib.Path(__file__).parent
START = datetime.datetime(2026, 11, 1)
END = datetime.datetime(2049, 11, 1)
DAY = datetime.timedelta(days=1)
SETS = {44: mldsa.MLDSA44PrivateKey, 65: mldsa.MLDSA65PrivateKey, 87: mldsa.MLDSA87PrivateKey}


ODD = ed25519.Ed25519PrivateKey.generate()
ODD_ALGORITHM = bytes.fromhex("300506032b6570")


def tlv(tag, *parts):
    content = b"".join(parts)
    size = len(content)
    octets = size.to_bytes((size.bit_length() + 7) // 8 or 1, "big")
    return bytes([tag]) + (octets if size < 0x80 else bytes([0x80 | len(octets)]) + octets) + content


def elements(content):
    """The elements in `content`: of each the octets, and where its own content begins."""
    while content:
        begin, size = 2, content[1]
        if size & 0x80:
            begin = 2 + (size & 0x7F)
            size = int.from_bytes(content[2:begin], "big")
        yield content[: begin + size], begin
        content = content[begin + size :]


def inner(element):
    (_, begin), = elements(element)
    return [one for one, _ in elements(element[begin:])]


def signed(odd, key):
    """`odd`, as `key` would have signed it: TBS, algorithm, signature."""
    spki = key.public_key().public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    odd_spki = ODD.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    algorithm = inner(spki)[0]
    exchanged = {ODD_ALGORITHM: algorithm, odd_spki: spki}
    tbs, _, _, *rest = inner(odd)
    tbs = tlv(tbs[0], *(exchanged.get(one, one) for one in inner(tbs)))
    return tlv(0x30, tbs, algorithm, tlv(0x03, b"\0", key.sign(tbs)), *rest)


def name(text):
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def usage(*wanted):
    every = ["digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement",
             "key_cert_sign", "crl_sign", "encipher_only", "decipher_only"]
    return x509.KeyUsage(**{one: one in wanted for one in every})


def certificate(subject, key, issuer, issuer_key, serial, ca):
    usages = ["key_cert_sign", "crl_sign"] if ca else []
    odd = (
        x509.CertificateBuilder(name(issuer), name(subject), key.public_key(), serial, START, END)
        .add_extension(x509.BasicConstraints(ca, None), ca)
        .add_extension(usage("digital_signature", *usages), True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()), False)
        .sign(ODD, None)
    )
    return x509.load_der_x509_certificate(signed(der(odd), issuer_key))


def der(value):
    return value.public_bytes(serialization.Encoding.DER)


def answer(device, root, key):
    """An OCSP response: a BasicOCSPResponse in its wrappings (RFC 6960, 4.2.1)."""
    odd = ocsp.OCSPResponseBuilder().add_response(
        device, root, hashes.SHA256(), ocsp.OCSPCertStatus.GOOD, START + DAY, END, None, None
    )
    builder = x509.CertificateBuilder(root.issuer, root.subject, ODD.public_key(), 1, START, END)
    odd = der(odd.responder_id(ocsp.OCSPResponderEncoding.NAME, builder.sign(ODD, None)).sign(ODD, None))
    status, explicit = inner(odd)
    kind, octets = inner(inner(explicit)[0])
    (_, begin), = elements(octets)
    basic = signed(octets[begin:], key)
    return tlv(0x30, status, tlv(0xA0, tlv(0x30, kind, tlv(0x04, basic))))


for number, kind in SETS.items():
    ca_name = f"ML-DSA-{number} root"
    ca_key, device_key = kind.generate(), kind.generate()
    root = certificate(ca_name, ca_key, ca_name, ca_key, 1, True)
    device = certificate("device", device_key, ca_name, ca_key, 2, False)
    revoked = x509.RevokedCertificateBuilder(3, START + DAY).build()
    crl = x509.CertificateRevocationListBuilder(name(ca_name), START + DAY, END, [], [revoked])
    crl = crl.add_extension(x509.CRLNumber(1), False)
    crl = crl.add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key()), False)
    request = x509.CertificateSigningRequestBuilder(name("device"))
    files = {
        "root": der(root),
        "device": der(device),
        "crl": signed(der(crl.sign(ODD, None)), ca_key),
        "request": signed(der(request.sign(ODD, None)), device_key),
        "ocsp": answer(device, root, ca_key),
    }
    for what, octets in files.items():
        (HERE / f"{number}-{what}.der").write_bytes(octets)
