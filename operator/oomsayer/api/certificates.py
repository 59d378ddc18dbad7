"""How strictly an API server's certificate is held against its cluster's authority: as kubectl does.

From Python 3.13 on the default is stricter, VERIFY_X509_STRICT: it refuses authorities without key
identifiers or key usage, as EKS and MicroK8s have made them
(kubernetes-client/python#2394, canonical/microk8s#4864).
"""

import ssl


def as_kubectl(context: ssl.SSLContext) -> ssl.SSLContext:
    """The same context, without that strictness: who signed, for how long and for whom is still checked."""
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    return context
