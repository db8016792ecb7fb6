"""The marked keys and the marked customer; none of these texts appears anywhere else."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from typing import Final

import trustme

from adapter.protocol.credentials import Credentials, Merchant
from redaction.search import Kind, Mark

CLIENT_PEM: Final = trustme.CA().issue_cert("client.example").private_key_and_cert_chain_pem.bytes().decode()
"""A client certificate and its private key."""

KEYS: Final[Mapping[str, str]] = {
    "hash key": "Q7x2Lm9Vb4Tz8Kp3",
    "hash IV": "Yd5Rw1Hn6Gc0Js8F",
    "hash key of the platform": "Bv3Nk7Xq2Zt9Mw4L",
    "hash IV of the platform": "Pz8Cf1Vj6Dh5Rg0T",
    "hash key by platform": "Wm4Gx9Sb2Lq7Hy1N",
    "hash IV by platform": "Kt6Jd3Fr8Zc5Vn0X",
    "signing key": "Tg5Wq8Xn2Bz7Lc4Vd9Rm1Kj6Hs3Fp0Yt",
    "signing key of the file": "Mx2Vb9Kq4Ls7Zd1Gw8Nt5Rc3Hj6Pf0Xy",
    "SASL password": "Zr9Tk4Wn7Bq2Xm5V",
    "proxy password": "Gd8Rk3Yw6Zp1Jq5C",
    "webhook secret": base64.b64encode(b"Ly7Gf2Jv9Qd4Cs8Hm1Xt6Bw3").decode(),
    "plugin's token": "Nb3Hv8Dk1Fz6Qw9S",
    "password of the public address": "Vq1Sx6Ld9Jm4Tb7R",
    "client secret": "Rf6Yk2Pw9Gm4Xb8J",
    "private key": CLIENT_PEM.splitlines()[1][10:50],  # before and after it every key of this kind is the same
    "webhook secret of a file": base64.b64encode(b"Sw5Hq8Zk3Nv7Bd2Mx9Jc6Tg4").decode(),
    "password of the variable for a proxy": "Jn7Cv4Xs1Qg8Wz5D",
    "header of the exporter": "Hb9Mt3Gz6Kx1Vr8L",
}
"""Every kind of secret that settings, their files and the environment can have, in each place where one can be."""

CUSTOMER: Final[Mapping[str, str]] = {
    "name": "Qzvxwjk Wbvqkpz",
    "Chinese name": "瀧澤彗璃",
    "phone": "0987612345",
    "mobile of Taiwan": "+886 935-748-162",
    "email": "qzvxwjk.wbvqkpz@marked-mail.example",
    "address": "臺北市瀞琇路八十七號",
    "national id": "Q198765432",
    "birthday": "1987-11-29T03:04:05",
}
"""Every field of a customer, and fields that the order event does not know."""

_FOUND_BY: Final[Mapping[str, str]] = {
    "name": "qzvxwjk",
    "phone": "987612345",
    "mobile of Taiwan": "935748162",
    "email": "marked-mail",
    "address": "瀞琇路",
}
"""A piece of the text that stays when the adapter normalises or cuts it; of the others the whole text."""

TICKET_NO: Final = "TKQ8V3X7W2Z9"
"""The number of a ticket in a notification."""

MERCHANT: Final = Merchant(
    merchant_id="3085676", credentials=Credentials(hash_key=KEYS["hash key"], hash_iv=KEYS["hash IV"])
)
BY_PLATFORM: Final = Merchant(
    merchant_id="3362787",
    credentials=Credentials(hash_key=KEYS["hash key by platform"], hash_iv=KEYS["hash IV by platform"]),
    platform_id="3085672",
    platform_credentials=Credentials(
        hash_key=KEYS["hash key of the platform"], hash_iv=KEYS["hash IV of the platform"]
    ),
)


def marks(tickets: Sequence[str] = ()) -> list[Mark]:
    """All marks; `tickets` are the numbers and codes that ECTicket has given."""
    return [
        *(Mark(name=name, text=text, kind=Kind.KEY) for name, text in KEYS.items()),
        *(Mark(name=name, text=_FOUND_BY.get(name, text), kind=Kind.CUSTOMER) for name, text in CUSTOMER.items()),
        *(Mark(name=text, text=text, kind=Kind.TICKET) for text in (TICKET_NO, *tickets)),
    ]
