using System.Net;
using Microsoft.Extensions.Options;

namespace Mesh.Ztunnel;

/// <summary>Refuses options at start that cannot work; each message names the setting, its value and what is allowed.</summary>
internal sealed class ZtunnelOptionsValidator : IValidateOptions<ZtunnelOptions>
{
    public ValidateOptionsResult Validate(string? name, ZtunnelOptions options)
    {
        string?[] errors =
        [
            options.Mode is ProxyMode.Dedicated && options.Workloads.Count == 0 ? $"{nameof(options.Workloads)} is empty; at least one workload must be named in dedicated mode" : null,
            options.Mode is ProxyMode.Shared && options.ListenAddress is not null
                ? $"{nameof(options.ListenAddress)} is {options.ListenAddress}; in shared mode pods have addresses of their own, and none is allowed" : null,
            options.Workloads.DistinctBy(workload => workload.ListenAddress).Count() < options.Workloads.Count
                ? $"{nameof(options.Workloads)} share a listen address; each needs its own" : null,
            options is { ProxyEnabled: false, DnsProxyEnabled: false } ? $"{nameof(options.ProxyEnabled)} and {nameof(options.DnsProxyEnabled)} are false; one of them must be true" : null,
            options is { LocalXds: not null, LocalXdsPath: not null } ? $"{nameof(options.LocalXds)} and {nameof(options.LocalXdsPath)} are both set; one of them is allowed" : null,
            options is { OnDemand: true, ControlPlane: null } ? $"{nameof(options.OnDemand)} is true; allowed only with a {nameof(options.ControlPlane)}" : null,
            options is { OnDemand: true, RequireWaypoint: true }
                ? $"{nameof(options.OnDemand)} and {nameof(options.RequireWaypoint)} are both true; one of them is allowed: the waypoints of a workload's services must be known" : null,
            options is { OnDemand: true, DnsProxyEnabled: true }
                ? $"{nameof(options.OnDemand)} and {nameof(options.DnsProxyEnabled)} are both true; one of them is allowed: DNS must know all names" : null,
            Port(nameof(options.HbonePort), options.HbonePort),
            Port(nameof(options.OutboundPort), options.OutboundPort),
            Port(nameof(options.InboundPassthroughPort), options.InboundPassthroughPort),
            Port(nameof(options.Socks5Port), options.Socks5Port),
            Port(nameof(options.ReadinessPort), options.ReadinessPort),
            Port(nameof(options.AdminPort), options.AdminPort ?? IPEndPoint.MaxPort),
            Port(nameof(options.StatsPort), options.StatsPort ?? IPEndPoint.MaxPort),
            Duration(nameof(options.TerminationDeadline), options.TerminationDeadline),
            Duration(nameof(options.WorkloadTimeout), options.WorkloadTimeout),
            Duration(nameof(options.ConnectTimeout), options.ConnectTimeout),
            options.Hbone.Validate(),
            options.DnsAddress is { } dns && (dns.Equals(IPAddress.Any) || dns.Equals(IPAddress.IPv6Any))
                ? $"{nameof(options.DnsAddress)} is {dns}; allowed are addresses of this machine, one by one: answers must come from where was asked" : null,
            Port(nameof(options.DnsPort), options.DnsPort),
            options.Pool.Validate(),
            options.Dns.Validate(),
        ];
        var found = errors.OfType<string>().ToList();
        return found.Count == 0 ? ValidateOptionsResult.Success : ValidateOptionsResult.Fail(found);
    }

    private static string? Port(string name, int value) =>
        value is > 0 and <= IPEndPoint.MaxPort ? null : $"{name} is {value}; allowed are 1 to {IPEndPoint.MaxPort}";

    private static string? Duration(string name, TimeSpan value) =>
        value > TimeSpan.Zero && value <= TimeSpan.FromDays(1) ? null : $"{name} is {value}; allowed is more than nothing, up to a day";
}
