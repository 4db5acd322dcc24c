"""The price list, as far as SageMaker needs it: US dollars per hour of an instance type.

Each type has a price for training and a dearer one for hosting, so that whoever forgets to filter is seen.

What does not belong here: what is made of a price.
"""

import hashlib
import json
from typing import Any

from tests.aws.cloud_settings import REGION, AwsError, Settings
from tests.aws.request_shapes import refuse_misshapen


def answer(settings: Settings, request: dict[str, Any]) -> dict[str, Any]:
    """GetProducts, in every region the same."""
    refuse_misshapen("pricing", "GetProducts", request)
    if request["ServiceCode"] != "AmazonSageMaker":
        raise AwsError("NotFoundException", f"The service {request['ServiceCode']} is not known here")
    wanted = {each["Field"]: each["Value"] for each in request.get("Filters", [])}
    region = wanted.get("regionCode", REGION)
    products = [
        product
        for kind, usd in sorted(settings.prices.items())
        for product in (_product(kind, "Training", usd, region), _product(kind, "Hosting", usd * 1.25, region))
        if all(
            product["product"]["attributes"].get(name, product["product"].get(name)) == wanted[name] for name in wanted
        )
    ]
    first, most = int(request.get("NextToken", 0)), request.get("MaxResults", 100)
    following = {"NextToken": str(first + most)} if first + most < len(products) else {}
    return {
        "FormatVersion": "aws_v1",
        "PriceList": [json.dumps(product) for product in products[first : first + most]],
        **following,
    }


def _product(kind: str, component: str, usd: float, region: str) -> dict[str, Any]:
    sku = hashlib.sha256(f"{kind} {component} {region}".encode()).hexdigest()[:16].upper()
    term, rate = f"{sku}.JRTCKXETXF", f"{sku}.JRTCKXETXF.6YS6EN2CT7"
    dimension = {
        "unit": "Hrs",
        "beginRange": "0",
        "endRange": "Inf",
        "description": f"${usd} per {component} {kind} hour in {region}",
        "appliesTo": [],
        "rateCode": rate,
        "pricePerUnit": {"USD": f"{usd:.10f}"},
    }
    return {
        "product": {
            "productFamily": "ML Instance",
            "sku": sku,
            "attributes": {
                "servicecode": "AmazonSageMaker",
                "servicename": "Amazon SageMaker",
                "instanceName": kind,
                "instanceType": f"{kind}-{component}",
                "component": component,
                "regionCode": region,
                "locationType": "AWS Region",
                "operation": "RunInstance",
            },
        },
        "serviceCode": "AmazonSageMaker",
        "terms": {
            "OnDemand": {
                term: {
                    "priceDimensions": {rate: dimension},
                    "sku": sku,
                    "offerTermCode": "JRTCKXETXF",
                    "effectiveDate": "2026-11-01T00:00:00Z",
                    "termAttributes": {},
                }
            }
        },
        "version": "20261101000000",
        "publicationDate": "2026-11-01T00:00:00Z",
    }
