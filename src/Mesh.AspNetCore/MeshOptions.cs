using Mesh.Core.Identity;
using Mesh.Core.Workloads;
using Mesh.Hbone;
using Mesh.Hbone.Client;
using Microsoft.Extensions.Options;

namespace Mesh.AspNetCore;

/// <summary>Who the application is in the mesh.</summary>
public sealed class MeshOptions
{
    /// <summary>The identity of the application. Required, of the form <c>spiffe://TRUST-DOMAIN/ns/NAMESPACE/sa/SERVICE-ACCOUNT</c>.</summary>
    public SpiffeId? Identity { get; set; }

    /// <summary>Other names of the trust domain of <see cref="Identity"/>: a peer of theirs is taken for the workload of the same path, by peers' certificates and by policies. Default: none.</summary>
    /// <remarks>The peer's claims still are those that it has proved, under the name that it has proved.</remarks>
    public TrustDomainAliases TrustDomainAliases { get; set; } = TrustDomainAliases.None;

    /// <summary>The UID of the application's workload in the <see cref="MeshState"/>, for policies and load balancing that depend on it; null when it is not in there.</summary>
    /// <remarks>When it is set, the state must hold that workload, with this identity; as long as it does not, nothing is accepted and nothing sent.</remarks>
    public string? WorkloadUid { get; set; }

    /// <summary>The port that the application is known by in the mesh: the target port of its services. 1 to 65,535; default 80.</summary>
    /// <remarks>Tunnels for other ports are refused, as nobody listens there; policies that name ports mean this one.</remarks>
    public int ApplicationPort { get; set; } = 80;

    /// <summary>The network that the application runs in. Default: the network without a name.</summary>
    public string Network { get; set; } = "";

    /// <summary>The port of HBONE at other workloads. 1 to 65,535; default 15008.</summary>
    public int HbonePort { get; set; } = 15008;

    /// <summary>Windows, limits and times of HBONE connections, both ways.</summary>
    public HboneOptions Hbone { get; } = new();

    /// <summary>How connections to other workloads are shared.</summary>
    public HbonePoolOptions Pool { get; } = new();

    /// <summary>The workload that the application is: that of <see cref="WorkloadUid"/>, null when the state does not hold it; or one made of identity and network.</summary>
    internal Workload? WorkloadIn(MeshSnapshot mesh)
    {
        if (WorkloadUid is { } uid)
        {
            // Its policies must not be passed over because it is not there yet, or is somebody else's.
            return mesh.FindWorkload(uid) is { } known && TrustDomainAliases.AreSame(Identity!.TrustDomain, known.Identity, Identity) ? known : null;
        }

        return new Workload
        {
            Uid = Identity!.ToString(),
            Namespace = Identity!.Namespace!,
            ServiceAccount = Identity.ServiceAccount!,
            TrustDomain = Identity.TrustDomain,
            Network = Network,
        };
    }
}

/// <summary>Checks the options at start.</summary>
internal sealed class MeshOptionsValidator : IValidateOptions<MeshOptions>
{
    public ValidateOptionsResult Validate(string? name, MeshOptions options)
    {
        string?[] errors =
        [
            options.Identity is null ? $"{nameof(MeshOptions.Identity)} is not set; allowed is a SPIFFE ID of a service account"
                : options.Identity.ServiceAccount is null ? $"{nameof(MeshOptions.Identity)} is {options.Identity}; allowed is spiffe://TRUST-DOMAIN/ns/NAMESPACE/sa/SERVICE-ACCOUNT"
                : null,
            options.HbonePort is < 1 or > 65_535 ? $"{nameof(MeshOptions.HbonePort)} is {options.HbonePort}; allowed are 1 to 65535" : null,
            options.ApplicationPort is < 1 or > 65_535 ? $"{nameof(MeshOptions.ApplicationPort)} is {options.ApplicationPort}; allowed are 1 to 65535" : null,
            options.Hbone.Validate(),
            options.Pool.Validate(),
        ];
        var faults = errors.OfType<string>().ToArray();
        return faults.Length == 0 ? ValidateOptionsResult.Success : ValidateOptionsResult.Fail(faults);
    }
}
