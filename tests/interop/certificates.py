"""Certificates of the tests' own authority, made with openssl: clients must verify them, as they would real ones."""

import pathlib

from net import SERVER_NAME, run


def _openssl(folder, *words):
    run(["openssl", *words], timeout=20, env={"PATH": "/usr/bin:/bin", "HOME": str(folder)})


def authority(folder):
    """A new authority: its certificate and key as PEM files."""
    certificate, key = folder / "authority.pem", folder / "authority.key"
    _openssl(folder, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "30",
             "-subj", "/CN=Relais test authority", "-addext", "basicConstraints=critical,CA:TRUE",
             "-addext", "keyUsage=critical,keyCertSign,cRLSign", "-keyout", str(key), "-out", str(certificate))
    return certificate, key


def certificate(folder, issuer, names=(SERVER_NAME,), addresses=(), stem="server"):
    """A certificate for names and IP addresses, signed by `issuer`: PEM files of certificate and key."""
    request, place, key = folder / f"{stem}.csr", folder / f"{stem}.pem", folder / f"{stem}.key"
    subjects = ",".join([*(f"DNS:{name}" for name in names), *(f"IP:{address}" for address in addresses)])
    _openssl(folder, "req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", f"/CN={stem}",
             "-keyout", str(key), "-out", str(request))
    extensions = folder / f"{stem}.ext"
    extensions.write_text(f"subjectAltName={subjects}\nextendedKeyUsage=serverAuth\nbasicConstraints=CA:FALSE\n")
    _openssl(folder, "x509", "-req", "-in", str(request), "-CA", str(issuer[0]), "-CAkey", str(issuer[1]), "-CAcreateserial",
             "-days", "20", "-extfile", str(extensions), "-out", str(place))
    pathlib.Path(key).chmod(0o600)
    return place, key
