"""The image: is it there, who mends it, does it hold our torch, and can it use the machine's GPU?

What does not belong here: what is known about images (tables.yaml).
"""

import difflib
from collections.abc import Iterator
from typing import Final

from botocore.exceptions import ClientError

from models_lib.errors import ConfigError
from models_lib.preflight import Finding
from tasks.adapters.aws.faults import code_of
from tasks.adapters.sagemaker.checks.asking import Inquiry, failed, passed, unknown
from tasks.adapters.sagemaker.tables import Image, Instance, Tables, at_least, image_of, minor, own_torch

OLDEST_PYTHON: Final = "3.11"
"""The oldest that runs the training code."""
_NO_IMAGE: Final = "no image is chosen."
_SEE_IMAGE: Final = "See image."


def image(inquiry: Inquiry) -> Iterator[Finding]:
    """Whether the image can be chosen, and is in its registry under exactly that tag."""
    try:
        chosen = image_of(inquiry.section, inquiry.tables, inquiry.region)
    except ConfigError as error:
        yield failed("image", str(error), "Correct training.sagemaker.image.")
        return
    named = {"imageTag": chosen.tag} if chosen.tag else {"imageDigest": chosen.digest}
    try:
        answer = inquiry.aws.client("ecr", region=chosen.region).batch_get_image(
            registryId=chosen.account, repositoryName=chosen.repository, imageIds=[named]
        )
    except ClientError as error:
        if code_of(error) != "RepositoryNotFoundException":
            raise
        fact = f"{chosen.uri}: registry {chosen.account} in {chosen.region} has no repository {chosen.repository}."
        yield failed("image", fact, _near(chosen, inquiry))
        return
    if not answer.get("images"):
        fact = f"{chosen.uri}: there is no such image in registry {chosen.account} in {chosen.region}."
        yield failed("image", fact, _near(chosen, inquiry))
    else:
        digest = answer["images"][0].get("imageId", {}).get("imageDigest", "no digest")
        yield passed("image", f"{chosen.uri}, {digest}")


def support(inquiry: Inquiry) -> Iterator[Finding]:
    """Whether somebody still mends the image. Past that day it may go, too; a whole URI insists on it all the same."""
    chosen, name = inquiry.image, "image support"
    if chosen is None:
        yield unknown(name, _NO_IMAGE, _SEE_IMAGE)
    elif chosen.end_of_patch is None:
        fact = f"{chosen.uri} is not in the table of {inquiry.tables.reviewed}: until when it is mended is not known."
        yield unknown(name, fact, "Look up its end of patch, or name a row of the table.")
    elif inquiry.now.date() < chosen.end_of_patch:
        yield passed(name, f"mended until {chosen.end_of_patch}")
    else:
        fact = f"AWS mends {chosen.repository}:{chosen.tag} no longer, since {chosen.end_of_patch}."
        newer = [row.key for row in inquiry.tables.images if row.device == chosen.device]
        living = [
            row.key for row in inquiry.tables.images if row.key in newer and row.end_of_patch > inquiry.now.date()
        ]
        remedy = f"Set training.sagemaker.image to {' or '.join(living) or 'a newer one'}"
        if chosen.insisted:
            yield unknown(name, f"{fact} The whole URI was given, so it is used.", f"{remedy}.")
        else:
            yield failed(name, fact, f"{remedy}, or insist on this one by its whole URI: {chosen.uri}.")


def torch(inquiry: Inquiry) -> Iterator[Finding]:
    """Whether the image holds our version of torch: another one trains, but other weights than this machine would."""
    chosen, name, ours = inquiry.image, "torch", own_torch()
    if chosen is None:
        yield unknown(name, _NO_IMAGE, _SEE_IMAGE)
    elif chosen.torch is None or chosen.python is None:
        fact = f"which torch and Python {chosen.uri} holds is not in the table of {inquiry.tables.reviewed}; here is {ours}."
        yield unknown(name, fact, f"Look it up: torch {minor(ours)} gives the weights of this machine.")
    elif not at_least(chosen.python, OLDEST_PYTHON):
        fact = f"the image has Python {chosen.python}, the training code needs {OLDEST_PYTHON} or newer."
        yield failed(name, fact, "Name a newer image as training.sagemaker.image.")
    elif minor(chosen.torch) != minor(ours):
        # The gates judge what comes back, so another version is no reason to stop, when a person chose it.
        fact = f"the image has torch {chosen.torch}, this machine {ours}: the same training gives other weights there."
        remedy = "Leave training.sagemaker.image out for the image with this machine's torch, or accept the difference."
        yield unknown(name, fact, remedy)
    else:
        yield passed(name, f"torch {chosen.torch} on Python {chosen.python} in the image, torch {ours} here")


def gpu(inquiry: Inquiry) -> Iterator[Finding]:
    """Whether image and machine compute on the same kind of device, and CUDA still has code for the GPU."""
    chosen, machine, name = inquiry.image, inquiry.machine, "gpu"
    if chosen is None:
        yield unknown(name, _NO_IMAGE, _SEE_IMAGE)
    elif machine is None:
        fact = f"what {inquiry.section.instance_type} computes on is not in the table of {inquiry.tables.reviewed}."
        yield unknown(name, fact, "Look up its GPU, or choose a machine of the table.")
    elif chosen.device is None:
        fact = f"what {chosen.uri} is built for is not in the table of {inquiry.tables.reviewed}."
        yield unknown(name, fact, f"Look up whether it supports {_words_of(machine)}.")
    elif chosen.device != machine.device:
        fact = f"the image is built for {chosen.device}, {machine.type} has {_words_of(machine)}."
        yield failed(name, fact, "Leave training.sagemaker.image out for one that fits, or choose another machine.")
    elif machine.gpu_architecture is None or chosen.cuda is None:
        yield passed(name, f"image and {machine.type} compute on the {machine.device}")
    else:
        yield _code_for(machine, machine.gpu_architecture, chosen.cuda, inquiry.tables)


def _code_for(machine: Instance, capability: str, cuda: str, tables: Tables) -> Finding:
    lowest = tables.cuda[cuda]
    fact = f"CUDA {cuda} of the image, {machine.gpu} of {machine.type} with compute capability {capability}"
    if at_least(capability, lowest):
        return passed("gpu", f"{fact} (at least {lowest} needed)")
    rows = [row.key for row in tables.images if row.cuda and at_least(capability, tables.cuda[row.cuda])]
    types = [row.type for row in tables.instances if row.gpu_architecture and at_least(row.gpu_architecture, lowest)]
    remedy = f"Choose a machine that CUDA {cuda} supports, such as {', '.join(types[:3])}"
    older = f", or an image with an older CUDA: {', '.join(rows)}" if rows else ""
    return failed("gpu", f"{fact} (at least {lowest} needed): there is no code for this GPU.", f"{remedy}{older}.")


def _words_of(machine: Instance) -> str:
    return f"GPU {machine.gpu} (compute capability {machine.gpu_architecture})" if machine.gpu else "no GPU"


def _near(chosen: Image, inquiry: Inquiry) -> str:
    """Images of the table that may have been meant: for the machine's kind of device, mended still, and not the missing one."""
    tables, machine = inquiry.tables, inquiry.machine
    fitting = [
        row
        for row in tables.images
        if (machine is None or row.device == machine.device)
        and row.end_of_patch > inquiry.now.date()
        and (row.repository != chosen.repository or chosen.tag not in (row.tag, *row.also))
    ]
    known = {f"{row.repository}:{row.tag}": row.key for row in fitting}
    if not known:
        return "Name an image that is there, by its whole URI, as training.sagemaker.image."
    wanted = f"{chosen.repository}:{chosen.tag or chosen.digest}"
    near = difflib.get_close_matches(wanted, known, n=3, cutoff=0.3) or list(known)[-2:]
    rows = "; ".join(f"{known[name]} ({name})" for name in near)
    return f"Set training.sagemaker.image to a row of the table of {tables.reviewed}, such as {rows}."
