"""Certificates for trying mutual TLS out: an authority, one certificate for each node, one for clients.

They are for tests and for a first cluster, not for an organisation that has an authority already.  Names
are those that `paxos.runtime.tls` looks for.  The standard library can not make certificates, so this uses
the package `cryptography` when it is installed (the extra `certificates`), else the program `openssl`.
"""

import datetime
import ipaddress
import os
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from paxos.ballot import NodeId
from paxos.errors import ConfigurationError
from paxos.runtime.config import TlsConfig
from paxos.runtime.tls import CLIENT_PREFIX, node_name

__all__ = ["make_certificates"]

_DAYS: Final = 3650
_AUTHORITY: Final = "paxos test authority"


def make_certificates(
    directory: str | os.PathLike[str],
    node_ids: Sequence[NodeId],
    hosts: Sequence[str] = (),
    *,
    clients: Sequence[str] = ("client",),
) -> TlsConfig:
    """Make an authority and what it signs, in a directory: `ca.pem`, `node-1.pem`, `node-1.key`, ...

    A client's files are `node-client.pem` and `node-client.key`, since that is what the paths returned
    stand for with `client` in place of an id.

    Args:
        directory: made if it is missing; files of the same names are replaced.
        node_ids: of the nodes.
        hosts: names and IP addresses of the nodes' machines, for other tools to check; none is needed here.
        clients: names of clients, each with a certificate for `client-<name>`.

    Returns:
        The configuration that names the files.

    Raises:
        ConfigurationError: neither `cryptography` nor `openssl` is there, or a file can not be written.
    """
    place = Path(directory)
    wanted = {f"node-{node}": [node_name(node), *hosts] for node in node_ids}
    wanted.update({f"node-{client}": [CLIENT_PREFIX + client] for client in clients})
    try:
        place.mkdir(parents=True, exist_ok=True)
        if find_spec("cryptography") is not None:
            _with_cryptography(place, wanted)
        elif shutil.which("openssl"):
            _with_openssl(place, wanted)
        else:
            raise ConfigurationError(
                "certificates: neither the package `cryptography` (extra `certificates`) nor the program "
                "`openssl` is installed; install one, or bring certificates of your own"
            )
    except OSError as error:
        raise ConfigurationError(f"certificates: {place}: can not be written: {error}") from error
    return TlsConfig(str(place / "ca.pem"), str(place / "node-{id}.pem"), str(place / "node-{id}.key"))


def _write_key(path: Path, data: bytes) -> None:
    """A private key: from the first moment readable by its owner alone."""
    path.unlink(missing_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _with_cryptography(place: Path, wanted: dict[str, list[str]]) -> None:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

    now = datetime.datetime.now(datetime.UTC)

    def name_of(text: str) -> x509.Name:
        return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])

    def builder(subject: str, key: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
        return (
            x509.CertificateBuilder()
            .subject_name(name_of(subject))
            .issuer_name(name_of(_AUTHORITY))
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(hours=1))
            .not_valid_after(now + datetime.timedelta(days=_DAYS))
        )

    def pem(key: ec.EllipticCurvePrivateKey) -> bytes:
        return key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )

    authority_key = ec.generate_private_key(ec.SECP256R1())
    identifier = x509.SubjectKeyIdentifier.from_public_key(authority_key.public_key())
    usage = x509.KeyUsage(False, False, False, False, False, True, True, False, False)
    authority = (
        builder(_AUTHORITY, authority_key.public_key())
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(identifier, critical=False)
        .sign(authority_key, hashes.SHA256())
    )
    (place / "ca.pem").write_bytes(authority.public_bytes(serialization.Encoding.PEM))
    for file, names in wanted.items():
        key = ec.generate_private_key(ec.SECP256R1())
        alternatives: list[x509.GeneralName] = [
            x509.IPAddress(ipaddress.ip_address(name)) if _is_address(name) else x509.DNSName(name)
            for name in names
        ]
        both = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
        issued_by = x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier)
        certificate = (
            builder(names[0], key.public_key())
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
            .add_extension(x509.ExtendedKeyUsage(both), critical=False)
            .add_extension(issued_by, critical=False)
            .sign(authority_key, hashes.SHA256())
        )
        (place / f"{file}.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        _write_key(place / f"{file}.key", pem(key))


def _with_openssl(place: Path, wanted: dict[str, list[str]]) -> None:
    with tempfile.TemporaryDirectory(prefix="paxos-ca-") as temporary:
        work = Path(temporary)
        authority_key = work / "ca.key"
        _openssl("ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", str(authority_key))
        extensions = work / "ca.cnf"
        extensions.write_text(
            "[req]\ndistinguished_name=dn\nx509_extensions=v3\nprompt=no\n"
            f"[dn]\nCN={_AUTHORITY}\n"
            "[v3]\nbasicConstraints=critical,CA:TRUE,pathlen:0\nkeyUsage=critical,keyCertSign,cRLSign\n"
            "subjectKeyIdentifier=hash\n"
        )
        to = ["-days", str(_DAYS), "-out", str(place / "ca.pem")]
        _openssl("req", "-x509", "-new", "-key", str(authority_key), "-config", str(extensions), *to)
        for file, names in wanted.items():
            key, request, extension = work / f"{file}.key", work / "request.pem", work / "extension.cnf"
            _openssl("ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", str(key))
            pkcs8 = work / f"{file}.pkcs8"
            _openssl("pkcs8", "-topk8", "-nocrypt", "-in", str(key), "-out", str(pkcs8))
            _openssl("req", "-new", "-key", str(key), "-subj", f"/CN={names[0]}", "-out", str(request))
            alternatives = ",".join(("IP:" if _is_address(name) else "DNS:") + name for name in names)
            extension.write_text(
                f"basicConstraints=critical,CA:FALSE\nsubjectAltName={alternatives}\n"
                "extendedKeyUsage=serverAuth,clientAuth\nauthorityKeyIdentifier=keyid\n"
            )
            signer = ["-CA", str(place / "ca.pem"), "-CAkey", str(authority_key), "-CAcreateserial"]
            signer += ["-CAserial", str(work / "ca.srl"), "-extfile", str(extension)]
            to = ["-days", str(_DAYS), "-out", str(place / f"{file}.pem")]
            _openssl("x509", "-req", "-in", str(request), *signer, *to)
            _write_key(place / f"{file}.key", pkcs8.read_bytes())


def _openssl(*arguments: str) -> None:
    done = subprocess.run(["openssl", *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        raise ConfigurationError(f"certificates: openssl {arguments[0]} failed: {done.stderr.strip()[-300:]}")
