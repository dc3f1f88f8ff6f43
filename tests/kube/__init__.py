"""A real Kubernetes for tests, of nothing but processes in a folder: no VM, no Docker, nothing left behind.

:mod:`tests.kube.assets` finds the binaries: the folder that ``KUBEBUILDER_ASSETS`` names, as for controller-runtime's
envtest, so whatever ``setup-envtest`` downloads will do for a control plane.
:mod:`tests.kube.cluster` is the control plane: etcd and an API server, on request with controllers and a scheduler.
CRDs, CEL, RBAC and admission are real; no pod runs.  :mod:`tests.kube.node` adds a node on which pods do run, and
:mod:`tests.kube.images` builds the images for it.  Below them: :mod:`tests.kube.client`, a JSON client that can act as
another user; :mod:`tests.kube.pki`, certificates and kubeconfigs; :mod:`tests.kube.processes`, children that are found
again and stopped from the folder alone, also after the test process was killed.

By hand: ``python -m tests.kube up [--node]`` and ``python -m tests.kube down``.
"""
