using System.Net;
using Mesh.Core.Policy;
using YamlDotNet.RepresentationModel;

namespace Mesh.Core.Configuration;

/// <summary>The policies of the file: rules of clauses of matches (ztunnel §6a).</summary>
internal sealed partial class LocalConfigurationReader
{
    private L4Authorization? ReadPolicy(YamlNode node)
    {
        if (YamlMapping.Of(node, "a policy", _faults) is not { } map)
        {
            return null;
        }

        var policy = new L4Authorization
        {
            Name = map.Text("name", required: true),
            Namespace = map.Text("namespace", required: true),
            Scope = map.Choice(
                "scope",
                AuthorizationScope.Global,
                [("Global", AuthorizationScope.Global), ("Namespace", AuthorizationScope.Namespace), ("WorkloadSelector", AuthorizationScope.WorkloadSelector)],
                required: true),
            Action = map.Choice("action", AuthorizationAction.Allow, [("Allow", AuthorizationAction.Allow), ("Deny", AuthorizationAction.Deny)], required: true),
            Rules = map.List(
                "rules",
                rule => new AuthorizationRule(YamlMapping.Items(
                    rule, "a rule", _faults, clause => new AuthorizationClause(YamlMapping.Items(clause, "a clause", _faults, ReadMatch)))),
                required: true),
            DryRun = map.Flag("dryRun"),
        };
        map.End();
        CheckUnique(_policyKeys, policy.Key, node, "policy");
        return policy;
    }

    private AuthorizationMatch? ReadMatch(YamlNode node)
    {
        if (YamlMapping.Of(node, "a match", _faults) is not { } map)
        {
            return null;
        }

        var match = new AuthorizationMatch
        {
            Namespaces = map.Values("namespaces", item => ReadStringMatch(map, item)),
            NotNamespaces = map.Values("notNamespaces", item => ReadStringMatch(map, item)),
            Principals = map.Values("principals", item => ReadStringMatch(map, item)),
            NotPrincipals = map.Values("notPrincipals", item => ReadStringMatch(map, item)),
            SourceIps = map.Values("sourceIps", item => Range(map, item)),
            NotSourceIps = map.Values("notSourceIps", item => Range(map, item)),
            DestinationIps = map.Values("destinationIps", item => Range(map, item)),
            NotDestinationIps = map.Values("notDestinationIps", item => Range(map, item)),
            DestinationPorts = map.Values("destinationPorts", item => map.Number(item, "a port", 0, IPEndPoint.MaxPort)),
            NotDestinationPorts = map.Values("notDestinationPorts", item => map.Number(item, "a port", 0, IPEndPoint.MaxPort)),
            ServiceAccounts = map.Values("serviceAccounts", ReadServiceAccount),
            NotServiceAccounts = map.Values("notServiceAccounts", ReadServiceAccount),
        };
        map.End();
        return match;
    }

    private StringMatch? ReadStringMatch(YamlMapping map, YamlNode node)
    {
        // Either a tag, as in !Exact web, or a mapping of one entry, as in {Exact: web}, which is what a config dump shows.
        var (kind, value) = node is YamlMappingNode { Children.Count: 1 } entry && entry.First() is { Key: YamlScalarNode key } pair
            ? (key.Value, pair.Value)
            : (node.Tag.IsEmpty ? null : node.Tag.Value.TrimStart('!'), node);
        switch (kind)
        {
            case "Presence":
                return StringMatch.Presence;
            case "Exact" or "Prefix" or "Suffix" when map.Text(value, $"the value of !{kind}") is { } text:
                if (text.StartsWith("spiffe://", StringComparison.Ordinal))
                {
                    _faults.Add(node, $"'{text}' would never match: principals are compared without spiffe://");
                }

                return kind switch
                {
                    "Exact" => StringMatch.Exact(text),
                    "Prefix" => StringMatch.Prefix(text),
                    _ => StringMatch.Suffix(text),
                };
            case "Exact" or "Prefix" or "Suffix":
                return null;
            default:
                _faults.Add(node, "a string match needs a tag; allowed are !Exact text, !Prefix text, !Suffix text and !Presence []");
                return null;
        }
    }

    private ServiceAccountMatch? ReadServiceAccount(YamlNode node)
    {
        if (YamlMapping.Of(node, "a service account", _faults) is not { } map)
        {
            return null;
        }

        var match = new ServiceAccountMatch(map.Text("namespace", required: true), map.Text("serviceAccount", required: true));
        map.End();
        return match;
    }
}
